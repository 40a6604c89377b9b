/**
 * How an operator's inventory reaches the registry, `/.clawdy/registry/<slug>` on the auth host, and launches the enrolments. A
 * token lets somebody in; what they bring must have been sealed with the key-encryption key as well.
 */
import {
  ENTRY_LIMIT,
  type Entry,
  entrySchema,
  type LiveEntry,
  OWN_PATHS,
  SLUG_PATTERN,
} from '../../../../src/contract/edge.ts';
import { ENROLMENTS_PATH } from '../../../../src/contract/edge-enrolment.ts';
import { hexOf, jsonOf } from '../../../../src/contract/text.ts';
import { bodyOf } from './body.ts';
import { enrolments } from './enrolments.ts';
import { openCode } from './envelope.ts';
import { Stale } from './kinds.ts';
import { OWN_HEADERS, word } from './pages.ts';
import { requestForGate } from './pass.ts';
import type { InstancePlace } from './place.ts';
import type { Runtime } from './runtime.ts';

/** Milliseconds that an instance has to answer. */
const REACH_MS = 10_000;

const PREFIX = `${OWN_PATHS}registry/`;
export const isAdminPath = (path: string) => path.startsWith(PREFIX) || path.startsWith(ENROLMENTS_PATH);

/**
 * GET tells how it stands; PUT takes what is newer (201, or 409 where one as new is there). Nothing that is told is secret.
 * @returns 404 where no token is set, 401 without the right one.
 */
export async function admin(runtime: Runtime, request: Request, url: URL): Promise<Response> {
  const wanted = runtime.secrets.adminTokenSha256;
  if (!wanted) return word(404, 'not_found');
  if (!(await isToken(request.headers.get('authorization'), wanted))) return word(401, 'token_required');
  if (!url.pathname.startsWith(PREFIX)) return enrolments(runtime, request, url);
  const slug = url.pathname.slice(PREFIX.length);
  if (!SLUG_PATTERN.test(slug)) return word(404, 'not_found');
  if (request.method === 'GET') {
    const entry = await runtime.registry.get(slug);
    if (!entry) return word(404, 'not_found');
    return told(200, entry);
  }
  if (request.method === 'PUT') return put(runtime, request, slug);
  return word(405, 'method');
}

async function put(runtime: Runtime, request: Request, slug: string): Promise<Response> {
  const parsed = entrySchema.safeParse(jsonOf(await bodyOf(request, ENTRY_LIMIT)));
  if (!parsed.success || parsed.data.slug !== slug) return word(400, 'bad_entry');
  const entry = parsed.data;
  try {
    if (entry.state === 'live') await openCode(entry, runtime.secrets.keks);
  } catch {
    return word(400, 'bad_seal');
  }
  try {
    await runtime.registry.put(entry);
  } catch (error) {
    if (error instanceof Stale) return word(409, 'stale');
    throw error;
  }
  runtime.log('registry', { slug, state: entry.state, revision: entry.revision });
  return told(201, entry, entry.state === 'live' ? { reached: await reached(runtime, entry) } : {});
}

/**
 * Asks the instance with the code that has just come, so that whoever rotates knows that this proxy's way to it is open.
 * @returns the status; null where nothing answers.
 */
async function reached(runtime: Runtime, entry: LiveEntry): Promise<number | null> {
  const host = `${entry.slug}.${runtime.config.uiDomain}`;
  try {
    const request = new Request(`https://${host}/readyz`, { method: 'HEAD', signal: AbortSignal.timeout(REACH_MS) });
    const place: InstancePlace = { kind: 'ui', slug: entry.slug, host };
    const answer = await runtime.ask(entry.origin, await requestForGate(runtime, request, entry, entry.owner, place));
    await answer.body?.cancel();
    return answer.status;
  } catch {
    return null;
  }
}

const told = (status: number, { slug, state, revision }: Entry, more = {}) =>
  Response.json({ slug, state, revision, ...more }, { status, headers: OWN_HEADERS });

/** Compares digests, so that time tells nothing about the token. */
async function isToken(header: string | null, wanted: string): Promise<boolean> {
  const token = /^Bearer ([\w-]{43,128})$/.exec(header ?? '')?.[1];
  if (!token) return false;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token)));
  return hexOf(digest) === wanted;
}

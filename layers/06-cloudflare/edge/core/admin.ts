import { entrySchema, OWN_PATH } from '../../../../src/contract/edge.ts';
import { digest, sameText, toBase64url } from './envelope.ts';
import type { Runtime } from './runtime.ts';

/** Characters of an entry; a real one has some thousand. */
const LIMIT = 64 * 1024;

/**
 * The operator's way to the registry: `PUT /.clawdy/registry/<slug>` on the host where people sign in, with the operator's token. An entry
 * that is older than what is there is refused, and nothing of what is kept is ever told but its revision.
 */
export async function registryPath(runtime: Runtime, request: Request, url: URL): Promise<Response | undefined> {
  const slug = new RegExp(`^${OWN_PATH}registry/([a-z0-9-]{1,40})$`).exec(url.pathname)?.[1];
  if (!slug) return undefined;
  const say = (status: number, body: object) =>
    Response.json(body, { status, headers: { 'cache-control': 'no-store' } });
  const token = /^Bearer ([A-Za-z0-9_-]{20,200})$/.exec(request.headers.get('authorization') ?? '')?.[1] ?? '';
  if (!(await sameText(toBase64url(await digest(token)), runtime.secrets.admin)))
    return say(401, { error: 'token_required' });
  if (request.method === 'GET') {
    const entry = await runtime.registry.get(slug);
    return entry
      ? say(200, { slug, revision: entry.revision, revoked: entry.revoked })
      : say(404, { error: 'no_such' });
  }
  if (request.method !== 'PUT') return say(405, { error: 'method' });
  const text = await request.text();
  const entry = entrySchema.safeParse(text.length > LIMIT ? undefined : parse(text));
  if (!entry.success || entry.data.slug !== slug) return say(400, { error: 'bad_entry' });
  const kept = await runtime.registry.put(entry.data);
  runtime.log(`registry: ${slug} revision ${entry.data.revision}: ${kept ? 'kept' : 'older than what is there'}`);
  return kept ? say(200, { slug, revision: entry.data.revision }) : say(409, { error: 'older' });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

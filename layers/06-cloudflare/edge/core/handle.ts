import { type Entry, OWN_PATH } from '../../../../src/contract/edge.ts';
import { GATE_ANSWERS } from '../../../../src/contract/gate.ts';
import { registryPath } from './admin.ts';
import { openCode } from './envelope.ts';
import { isNavigation, isUpgrade, mayRide } from './guard.ts';
import { towardsGate, towardsVisitor } from './headers.ts';
import { originOf, type Place, placeOf } from './hosts.ts';
import { page } from './pages.ts';
import { relay } from './relay.ts';
import type { Runtime } from './runtime.ts';
import { type Session, sessionOf } from './session.ts';
import { ownPath, signInLink } from './sign-in.ts';

type Target = Extract<Place, { slug: string }>;

/** One request of anybody's. Never throws; what went wrong is in the log. */
export async function handle(runtime: Runtime, request: Request): Promise<Response> {
  try {
    return await answer(runtime, request);
  } catch (error) {
    runtime.log(`failed: ${error instanceof Error ? `${error.name}: ${error.message}` : 'error'}`);
    return page('unreachable', isNavigation(request));
  }
}

async function answer(runtime: Runtime, request: Request): Promise<Response> {
  const { config } = runtime;
  const url = new URL(request.url);
  const place = placeOf(url, config);
  // As it was sent, before anybody made another spelling of it.
  const named = request.headers.get('host') ?? url.host;
  if (place.kind === 'none' || named.toLowerCase() !== url.host) return page('no-such', isNavigation(request));
  if (place.kind === 'auth')
    return (await registryPath(runtime, request, url)) ?? (await ownPath(runtime, request, url, place.host, true));
  if (url.pathname.startsWith(OWN_PATH)) return ownPath(runtime, request, url, place.host, false);
  const { host } = place;
  if (!mayRide(request, originOf(host))) return page('other-site', isNavigation(request));

  const session = await sessionOf(request, host, config, runtime.secrets, runtime.log);
  if (!session) {
    const link = config.session.kind === 'oidc' ? { href: signInLink(url), text: 'Sign in' } : undefined;
    return page('sign-in', isNavigation(request), link);
  }
  const entry = await runtime.registry.get(place.slug);
  // Who isn't let in learns nothing of whether there is such an instance.
  if (!entry || !mayUse(entry, place, session.user)) return page('not-yours', isNavigation(request));
  return pass(runtime, request, url, place, entry, session);
}

/** OpenClaw is for its owner and whom they share it with; an app for the owner and whom they share that very app with. */
export function mayUse(entry: Entry, place: Target, user: string): boolean {
  if (entry.revoked || entry.slug !== place.slug) return false;
  const is = (other: string) => other.toLowerCase() === user.toLowerCase();
  if (place.kind === 'ui') return is(entry.owner) || entry.shares.some(is);
  return is(entry.owner) || entry.apps.some(({ port, shares }) => port === place.port && shares.some(is));
}

async function pass(
  runtime: Runtime,
  request: Request,
  url: URL,
  place: Target,
  entry: Entry,
  { user, until }: Session,
): Promise<Response> {
  const wantsPage = isNavigation(request);
  const code = await openCode(entry.slug, entry.sealed, runtime.secrets.codes);
  const port = place.kind === 'app' ? place.port : undefined;
  // The name as the registry spells it: the gate's users are told apart by their letters.
  const named = [entry.owner, ...entry.shares].find((other) => other.toLowerCase() === user.toLowerCase()) ?? user;
  const headers = towardsGate(request.headers, { code, user: named, port, origin: originOf(place.host) });
  const body = ['GET', 'HEAD'].includes(request.method) ? null : request.body;
  // A gate that was promised a body would wait for it, or take the next request for one.
  if (!body) headers.delete('content-length');
  const path = `${url.pathname}${url.search}`;
  const unreachable = (why: string) => {
    runtime.log(`${entry.slug}: ${why}`);
    return page('unreachable', wantsPage);
  };
  let answered: Response;
  try {
    if (isUpgrade(request)) {
      if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket')
        return unreachable('an upgrade to something else');
      const origin = await runtime.connect(entry, path, headers);
      if (origin instanceof Response) answered = origin;
      else {
        const still = async () => {
          const now = await runtime.registry.get(entry.slug);
          return now !== undefined && mayUse(now, place, user);
        };
        return runtime.accept(origin.protocol, (visitor) => relay(visitor, origin.socket, until * 1000, still));
      }
    } else answered = await runtime.fetch(entry, path, { method: request.method, headers, body });
  } catch (error) {
    return unreachable(`not reached: ${error instanceof Error ? error.name : 'error'}`);
  }
  const word = await gateWord(answered);
  // The registry's code isn't the instance's: nothing that a visitor could mend.
  if (word === 'code_required') return unreachable('the gate does not take the code of the registry');
  if (word === 'starting' && wantsPage) return page('starting', true);
  return new Response(request.method === 'HEAD' ? null : answered.body, {
    status: answered.status,
    headers: towardsVisitor(answered.headers),
  });
}

/** Characters of the gate's own answers at most. */
const WORD_LIMIT = 4096;

/** The gate's own words are small; what OpenClaw or an app says passes as it is. */
async function gateWord(answered: Response): Promise<string | undefined> {
  const { status, headers } = answered;
  if (status !== GATE_ANSWERS.code_required && status !== GATE_ANSWERS.starting) return undefined;
  if (Number(headers.get('content-length') ?? Number.POSITIVE_INFINITY) > WORD_LIMIT) return undefined;
  try {
    return (JSON.parse(await answered.clone().text()) as { error?: string }).error;
  } catch {
    // To who accepts HTML the gate says it in a page.
    return status === GATE_ANSWERS.starting && headers.has('retry-after') ? 'starting' : undefined;
  }
}

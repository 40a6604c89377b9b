/** The auth proxy: a request in, a response out, whatever the runtime. docs/edge.md tells what it holds. */
import { OWN_PATHS } from '../../../../src/contract/edge.ts';
import { ENROL_PATH } from '../../../../src/contract/edge-enrolment.ts';
import { may } from './access.ts';
import { admin, isAdminPath } from './admin.ts';
import { enrol } from './enrol.ts';
import { ownPath, signIn } from './login.ts';
import { authorize, callback } from './oidc.ts';
import { PAGES, word } from './pages.ts';
import { pass, told } from './pass.ts';
import { type InstancePlace, placeOf } from './place.ts';
import { foreign } from './provenance.ts';
import { relay } from './relay.ts';
import type { Accept, Runtime } from './runtime.ts';
import { sessionOf } from './session.ts';

/** Not for an instance: CONNECT opens a tunnel, TRACE would show the code. */
const REFUSED_METHODS = ['CONNECT', 'TRACE', 'TRACK'];

/**
 * Answers one request.
 * @param visitor the address that asks, as the runtime knows it.
 * @param accept answers an upgrade, where the request is one.
 * @returns never throws: what nobody foresaw is a 500 and a line of the log.
 */
export async function handle(runtime: Runtime, request: Request, visitor: string, accept: Accept): Promise<Response> {
  try {
    return await judge(runtime, request, visitor, accept);
  } catch (error) {
    runtime.log('failed', { reason: error instanceof Error ? error.name : 'unknown' });
    return word(500, 'failed');
  }
}

async function judge(runtime: Runtime, request: Request, visitor: string, accept: Accept): Promise<Response> {
  const url = new URL(request.url);
  if (REFUSED_METHODS.includes(request.method)) return word(405, 'method');
  // A body that the next hop may not expect is how one request becomes two.
  const bodiless = request.method === 'GET' || request.method === 'HEAD';
  const length = request.headers.get('content-length') ?? '0';
  if (bodiless && (request.headers.has('transfer-encoding') || length !== '0')) return word(400, 'bad_request');

  const place = placeOf(url, runtime.config);
  if (!place) return told(request, PAGES.unknownHost(), 'unknown_host');
  // Neither by a browser: by an operator's token, by a launch's.
  if (place.kind === 'auth' && isAdminPath(url.pathname)) return admin(runtime, request, url);
  if (place.kind === 'auth' && url.pathname === ENROL_PATH) return enrol(runtime, request, visitor);
  const reason = foreign(request, `https://${place.host}`);
  if (reason) {
    runtime.log('foreign', { host: place.host, reason });
    return told(request, PAGES.foreign(), 'foreign');
  }
  if (place.kind === 'auth') return authPath(runtime, request, url);
  if (place.kind === 'reserved') return told(request, PAGES.reserved(), 'reserved_port');
  if (url.pathname.startsWith(OWN_PATHS)) return ownPath(runtime, request, url, place);
  return instance(runtime, request, url, place, accept);
}

function authPath(runtime: Runtime, request: Request, url: URL): Promise<Response> | Response {
  const signIn = runtime.config.signIn;
  if (signIn.mode !== 'oidc' || request.method !== 'GET') return word(404, 'not_found');
  if (url.pathname === `${OWN_PATHS}authorize`) return authorize(runtime, signIn, url);
  if (url.pathname === `${OWN_PATHS}callback`) return callback(runtime, signIn, request, url);
  return word(404, 'not_found');
}

async function instance(runtime: Runtime, request: Request, url: URL, place: InstancePlace, accept: Accept) {
  const session = await sessionOf(runtime, request, place);
  if (!session) return signIn(runtime, request, `${url.pathname}${url.search}`);
  const entry = await runtime.registry.get(place.slug);
  // One answer for an instance that isn't there, is revoked, or is somebody else's.
  if (!may(session.user, entry, place)) return told(request, PAGES.notYours(), 'not_yours');
  if (request.headers.has('upgrade')) return relay(runtime, request, entry, session, place, accept);
  return pass(runtime, request, entry, session.user, place);
}

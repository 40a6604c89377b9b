/** A request's way to a gate and back. */
import type { LiveEntry } from '../../../../src/contract/edge.ts';
import { GATE_ANSWERS } from '../../../../src/contract/gate.ts';
import { openCode } from './envelope.ts';
import { headersForBrowser, headersForGate } from './headers.ts';
import { PAGES, type Page, page, word } from './pages.ts';
import type { InstancePlace } from './place.ts';
import { wantsPage } from './provenance.ts';
import type { Runtime } from './runtime.ts';

/** Bytes of the gate's own answers: the longest is `{"error":"too_many_failures"}`. */
const OWN_ANSWER = 64;

/**
 * The request as a gate gets it: same method, path, query and body; the browser's host name; headers of ours.
 * @throws Error where the entry's code can't be opened.
 */
export async function requestForGate(
  { secrets }: Runtime,
  request: Request,
  entry: LiveEntry,
  user: string,
  place: InstancePlace,
): Promise<Request> {
  const code = await openCode(entry, secrets.keks);
  const headers = headersForGate(request.headers, code, user, place.kind === 'app' ? place.port : undefined);
  const length = request.headers.get('content-length');
  if (request.body && length && /^\d+$/.test(length)) headers.set('content-length', length);
  const init = { method: request.method, headers, body: request.body, redirect: 'manual', signal: request.signal };
  return new Request(request.url.split('#')[0] as string, { ...init, duplex: 'half' } as RequestInit);
}

/** Passes a request on. @returns its answer, or a page where the gate or the way to it has failed. */
export async function pass(
  runtime: Runtime,
  request: Request,
  entry: LiveEntry,
  user: string,
  place: InstancePlace,
): Promise<Response> {
  let answer: Response;
  try {
    const asked = await requestForGate(runtime, request, entry, user, place);
    answer = await runtime.ask(entry.origin, asked);
  } catch (error) {
    return unreachable(runtime, request, entry, error);
  }
  return answered(runtime, request, entry, answer);
}

/** The way to an instance has failed; the reason is for the log alone. */
export function unreachable(runtime: Runtime, request: Request, { slug, revision }: LiveEntry, error: unknown) {
  const reason = error instanceof Error ? String((error as { code?: unknown }).code ?? error.name) : 'unknown';
  runtime.log('unreachable', { slug, revision, reason });
  return told(request, PAGES.unreachable(), 'unreachable');
}

/** An instance's answer for a browser. The gate's own answers become pages. */
export async function answered(runtime: Runtime, request: Request, entry: LiveEntry, answer: Response) {
  const { slug, revision } = entry;
  const [said, body] = await gateAnswer(answer);
  if (said === 'starting') return told(request, PAGES.starting(), said);
  if (said === 'app_unreachable') return told(request, PAGES.noApp(), said);
  if (said === 'reserved_port') return told(request, PAGES.reserved(), said);
  if (said === 'code_required' || said === 'banned' || said === 'too_many_failures') {
    // The registry and the instance are out of step: a rotation that the registry hasn't heard of, or somebody's interference.
    runtime.log('out-of-step', { slug, revision, said });
    return told(request, PAGES.unreachable(), 'unreachable');
  }
  const { status, statusText, headers } = answer;
  return new Response(body, { status, statusText, headers: headersForBrowser(headers) });
}

/** @returns the gate's word, if this is an answer of its own, and the body as it came. */
async function gateAnswer(
  answer: Response,
): Promise<[keyof typeof GATE_ANSWERS | undefined, Response['body'] | string]> {
  const [type, length] = [
    answer.headers.get('content-type') ?? '',
    Number(answer.headers.get('content-length') ?? 'NaN'),
  ];
  const { status } = answer;
  // To who accepts pages the gate says `starting` as a page (docs/gate-protocol.md).
  const startingPage = status === 503 && answer.headers.get('retry-after') === '10' && type.startsWith('text/html');
  if (startingPage) return ['starting', null];
  if (status < 400 || !type.startsWith('application/json') || !(length <= OWN_ANSWER)) return [undefined, answer.body];
  const text = await answer.text();
  const said = /^\{"error": ?"([a-z_]+)"\}\s*$/.exec(text)?.[1] as keyof typeof GATE_ANSWERS | undefined;
  return [said && GATE_ANSWERS[said] === status ? said : undefined, text];
}

/** As a page for a person, as a word for a program. */
export function told(request: Request, what: Page, error: string): Promise<Response> | Response {
  return wantsPage(request) ? page(what, request.method === 'HEAD') : word(what.status, error);
}

/** WebSockets: both sides are ours, so that one ends when the session or the access does. */
import type { LiveEntry } from '../../../../src/contract/edge.ts';
import { may } from './access.ts';
import { word } from './pages.ts';
import { answered, requestForGate, unreachable } from './pass.ts';
import type { InstancePlace } from './place.ts';
import type { Accept, Connected, Runtime, Socket } from './runtime.ts';
import type { Session } from './session.ts';

/** Close codes of ours (4000 to 4999 are for applications, RFC 6455, 7.4.2). */
export const CLOSED = { sessionEnded: 4401, accessGone: 4403, unsure: 1011 } as const;

/** Answers an upgrade. Origin and access were judged before. */
export async function relay(
  runtime: Runtime,
  request: Request,
  entry: LiveEntry,
  session: Session,
  place: InstancePlace,
  accept: Accept,
): Promise<Response> {
  if (request.method !== 'GET' || request.headers.get('upgrade')?.toLowerCase() !== 'websocket')
    return word(400, 'bad_request');
  let connected: Connected;
  try {
    connected = await runtime.connect(entry.origin, await requestForGate(runtime, request, entry, session.user, place));
  } catch (error) {
    return unreachable(runtime, request, entry, error);
  }
  if ('refusal' in connected) return answered(runtime, request, entry, connected.refusal);
  const { socket: browser, response } = accept(connected.protocol);
  join(runtime, browser, connected.socket, session, place);
  return response;
}

/** @returns why a session must not go on. */
async function verdict(runtime: Runtime, { user, id, expires }: Session, place: InstancePlace) {
  if (runtime.now() >= expires || (id && (await runtime.spent.isSpent(id)))) return CLOSED.sessionEnded;
  return may(user, await runtime.registry.get(place.slug), place) ? undefined : CLOSED.accessGone;
}

function join(runtime: Runtime, browser: Socket, instance: Socket, session: Session, place: InstancePlace): void {
  let open = true;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (code: number | undefined, reason: string) => {
    if (!open) return;
    open = false;
    clearTimeout(timer);
    for (const side of [browser, instance]) side.close(code, reason);
  };
  const look = () => {
    const left = session.expires - runtime.now();
    const wait = Math.max(0, Math.min(runtime.config.recheckSeconds, left));
    timer = setTimeout(async () => {
      // An unreadable registry ends it too: who still may comes again.
      const code = await verdict(runtime, session, place).catch(() => CLOSED.unsure);
      if (code) end(code, code === CLOSED.sessionEnded ? 'session ended' : 'access ended');
      else if (open) look();
    }, wait * 1000);
  };
  const between = (from: Socket, to: Socket) =>
    from.listen({
      message(data) {
        // A timer may be late; a message doesn't pass after the end.
        if (open && runtime.now() >= session.expires) end(CLOSED.sessionEnded, 'session ended');
        if (open) to.send(data);
      },
      close: (code, reason) => end(sendable(code), reason),
    });
  between(browser, instance);
  between(instance, browser);
  look();
}

/** Codes that may be sent (RFC 6455, 7.4.1): 1005 and 1006 only say that there was none. */
function sendable(code: number): number | undefined {
  if ((code >= 3000 && code <= 4999) || (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)))
    return code;
  return code === 1005 ? undefined : 1001;
}

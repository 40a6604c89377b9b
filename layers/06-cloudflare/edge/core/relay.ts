import type { Socket } from './runtime.ts';

/** What closes a WebSocket that the proxy ends: 4000 and above are applications' own (RFC 6455, 7.4.2). */
export const ENDS = { session: 4401, access: 4403 } as const;

/** Milliseconds between two looks at whether somebody may still be here. */
const LOOK_MS = 15_000;
/** The longest that a timer takes (2^31 - 1 ms). */
const TIMER_MS = 0x7fffffff;

/**
 * Passes on what either end says, until one of them closes, the session ends, or access is taken away.
 * @param until in milliseconds since 1970.
 * @param allowed asked again and again.
 */
export function relay(
  visitor: Socket,
  origin: Socket,
  until: number,
  allowed: () => Promise<boolean>,
  lookMs = LOOK_MS,
): void {
  let over = false;
  const stop = () => {
    over = true;
    clearTimeout(end);
    clearInterval(looking);
  };
  const shut = (code: number, reason: string) => {
    if (over) return;
    stop();
    visitor.close(code, reason);
    origin.close(1001, 'the visitor is gone');
  };
  const end = setTimeout(
    () => shut(ENDS.session, 'the session has ended'),
    Math.min(Math.max(0, until - Date.now()), TIMER_MS),
  );
  const looking = setInterval(async () => {
    // That nobody can be asked isn't that somebody said no.
    if (!(await allowed().catch(() => true))) shut(ENDS.access, 'access was taken away');
  }, lookMs);
  const pass = (from: Socket, to: Socket) => {
    from.onMessage((data) => {
      if (!over) to.send(data);
    });
    from.onClose((code, reason) => {
      if (over) return;
      stop();
      to.close(sendable(code), reason);
    });
  };
  pass(visitor, origin);
  pass(origin, visitor);
}

/** Codes that say what nobody sends (1005, 1006, 1015) become one that may be sent. */
function sendable(code: number): number {
  return code === 1000 ||
    (code >= 1001 && code <= 1014 && ![1004, 1005, 1006].includes(code)) ||
    (code >= 3000 && code <= 4999)
    ? code
    : 1001;
}

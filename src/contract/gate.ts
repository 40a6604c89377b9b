/**
 * The gate's protocol: what an auth proxy sends and gets (docs/gate-protocol.md). The gate's fragments carry the same
 * values; test/unit/contract.test.ts compares the two.
 */

/** The gate listens here, for the addresses of its mode only, and asks for a client certificate. */
export const GATE_PORT = 443;

/** Request headers. All are taken off before the request goes on. */
export const GATE_HEADERS = {
  /** The instance's code, exactly once: 32 random bytes in base64url without padding, 43 characters. */
  code: 'x-clawdy-code',
  /** Who asks, as the proxy has verified it. Passed on to OpenClaw. */
  user: 'x-clawdy-user',
  /** A port of an app of the agent's on loopback, in place of OpenClaw. */
  port: 'x-clawdy-port',
} as const;

/** Bytes of randomness in a code, and characters of its base64url form. */
export const CODE = { bytes: 32, characters: 43 } as const;

/** What the gate takes as a user. */
export const USER_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._%+@-]{0,253}$/;

/** Ports that apps may have; the first 1024 are root's. */
export const APP_PORTS = { first: 1024, last: 65_535 } as const;

/** Of those, never reachable as an app: ours on loopback (OpenClaw, key proxy and what follows), and SSH's range. */
export const RESERVED_PORTS = [
  { first: 7860, last: 7869 },
  { first: 20_000, last: 32_767 },
] as const;

/** The gate's own answers, as JSON `{"error": …}` with the status. */
export const GATE_ANSWERS = {
  bad_request: 400,
  code_required: 401,
  banned: 403,
  reserved_port: 403,
  too_many_failures: 429,
  app_unreachable: 502,
  starting: 503,
} as const;

/** Failed codes a visitor (IPv4 address or IPv6 /64) may send within a minute before the gate answers 429. */
export const FAILURES_A_MINUTE = 10;

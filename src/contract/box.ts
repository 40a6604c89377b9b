/**
 * What the box and everything that talks to it agree on. The shell scripts on the box carry the same values;
 * test/unit/contract.test.ts compares the two.
 */

/** OpenClaw listens here, on loopback only (the seed's own port). */
export const OPENCLAW_PORT = 7860;
/** The proxy that holds the user's API key, on loopback (layers/07-api-keys). */
export const KEYS_PORT = 7862;

/** First boot draws SSH's port from this range: high, and below the kernel's ephemeral ports (32768 and up). */
export const SSH_PORTS = { first: 20_000, last: 32_767 } as const;

/** The only account with a shell; uid and gid are fixed so that a state partition moves between images. */
export const AGENT = { name: 'clawdy', uid: 7860, gid: 7860 } as const;

/** Where things are on the box. `/etc` is static; what an instance generates is under `state` or `run`. */
export const PATHS = {
  /** Code and fragments, root-owned, part of the image. */
  lib: '/usr/lib/clawdy',
  /** OpenClaw and its Node, root-owned, part of the image. */
  runtime: '/usr/lib/clawdy/runtime',
  /** Mount point of the partition clawdy-state. */
  data: '/var/lib/clawdy',
  /** Root's own state, 0700. */
  state: '/var/lib/clawdy/state',
  /** The agent's home, a separate tree. */
  home: '/var/lib/clawdy/home',
  /** Composed at each boot, gone with power. */
  run: '/run/clawdy',
} as const;

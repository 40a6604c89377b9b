import { z } from 'zod';

/** What can come of an attempt. `http:n` is an answer with that status. */
export const outcome = z
  .string()
  .regex(
    /^(ok|refused|timeout|reset|denied|http:[1-5]\d\d)$/,
    'must be ok, refused, timeout, reset, denied or http:<status>',
  );

const party = z.enum(['inside', 'agent', 'attacker', 'proxy']);

const frontMode = z.enum(['direct', 'cloudflare']);

const touched = z.enum(['gate', 'ssh', 'bans', 'ranges', 'keys', 'account']);
export type Touched = z.output<typeof touched>;

const attempt = z.strictObject({
  /**
   * Who tries: root in the box, the agent's uid in the box, a host that may reach 443 and holds code and client
   * certificate (the auth proxy, or in mode cloudflare Cloudflare), or any other host.
   */
  from: party,
  /** A script of the layer's `attacks/` or `checks/`, or of the shared `test/attacks/`, with its arguments. */
  run: z.string().min(1),
  expect: outcome,
});

const claim = z
  .strictObject({
    id: z.string().regex(/^[a-z][a-z0-9-]*$/),
    promise: z.string().min(1),
    where: z.array(z.enum(['container', 'vm'])).min(1),
    /** `full`: takes minutes on slow cores, or another claim shows nearly the same; left to proofs of that scope, each night's among them. */
    scope: z.enum(['ci', 'full']).default('ci'),
    /** What the box must have reached: sshd runs (`ready`), or OpenClaw answers and the live selfcheck passed (`live`). */
    after: z.enum(['ready', 'live']).default('ready'),
    /** The mode of the box's front door. */
    front: frontMode.default('direct'),
    /** It measures time: no other claim runs beside it. */
    alone: z.boolean().default(false),
    /** The one part of the box that attempts and sabotage change: a container is then put back for the next such claim. */
    touches: touched.optional(),
    control: attempt,
    attack: attempt,
    sabotage: z.union([
      z.strictObject({
        /** A command for the box's root shell that takes the protection away. */
        run: z.string().min(1),
        /** What the same attack gets then. */
        expect: outcome.default('ok'),
      }),
      z.strictObject({ reason: z.string().min(1), until: z.iso.date() }),
    ]),
    /** What the attack gets on a box without this layer, where that isn't what it gets after the sabotage; and why. */
    without: z.strictObject({ expect: z.union([outcome, z.literal('broken')]), because: z.string().min(1) }).optional(),
    /** Layers that stop the attack too. They are taken away before the sabotage: what is left must hold alone. */
    alsoStoppedBy: z.array(z.string()).default([]),
  })
  // A claim whose parts can't differ proves nothing.
  .refine(({ control }) => /^(ok|http:2\d\d)$/.test(control.expect), {
    path: ['control', 'expect'],
    error: 'a control must succeed: ok, or http:2xx',
  })
  .refine(({ attack, sabotage }) => 'until' in sabotage || sabotage.expect !== attack.expect, {
    path: ['sabotage', 'expect'],
    error: 'the sabotaged attack must end otherwise than the attack',
  });

/** `claims.yaml`: what a layer promises and how the promise is attacked. */
export const claimsSchema = z.array(claim);

export type Claim = z.output<typeof claim>;
export type Attempt = z.output<typeof attempt>;
export type FrontMode = z.output<typeof frontMode>;

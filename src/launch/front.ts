import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Opening } from '../clouds/machines.ts';
import { USER_PATTERN } from '../contract/gate.ts';
import { inputError } from '../process/errors.ts';

const keys = z.array(z.string().min(1)).max(16);

/**
 * What of launch.json is the operator's to decide: how requests reach the gate. The rest is each launch's own. The forms of the
 * members are the box's to judge (docs/schemas/launch.schema.json); that there is no other is judged here, since a box closes
 * itself over one.
 */
export const frontSchema = z
  .strictObject({
    mode: z.enum(['cloudflare', 'direct', 'tunnel']),
    hosts: keys.min(1),
    users: z.array(z.string().regex(USER_PATTERN, "isn't a name that the gate takes")).min(1).max(16),
    direct: z.strictObject({ clientCa: keys.min(1), sources: z.array(z.string()).min(1) }).optional(),
    cloudflare: z.looseObject({}).optional(),
    allowlist: z.array(z.string()).optional(),
    enrolmentUrl: z.url({ protocol: /^https$/ }).optional(),
  })
  .refine(({ mode, direct }) => (mode === 'direct') === Boolean(direct), 'direct: with mode direct, and only then');
export type Front = z.output<typeof frontSchema>;

/** How the sealed bundle is learnt: from the serial console, by the auth proxy that it is sent to, or by the operators' channel. */
export const learningSchema = z.discriminatedUnion('by', [
  z.strictObject({ by: z.literal('console') }),
  z.strictObject({ by: z.literal('url') }),
  /** From these networks, the launching computer's: the firewall lets them at the box's SSH ports until its own is known. */
  z.strictObject({ by: z.literal('channel'), from: z.array(z.string()).min(1) }),
]);
export type Learning = z.output<typeof learningSchema>;

/** @throws BuildError (input) naming the member. */
export function readFront(file: string): Front {
  let document: unknown;
  try {
    document = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw inputError('launch', `${file}: ${error instanceof SyntaxError ? "isn't JSON" : "can't be read"}`, HELP);
  }
  const parsed = frontSchema.safeParse(document);
  if (parsed.success) return parsed.data;
  throw inputError('launch', `${file}: ${z.prettifyError(parsed.error)}`, HELP);
}

const HELP = 'docs/launching.md has an example';

/** The lists that are baked into images of this checkout. */
const RANGES = join(import.meta.dirname, '../../layers/06-cloudflare/rootfs/usr/lib/clawdy/cloudflare/ranges.baked');

const EVERYONE = ['0.0.0.0/0', '::/0'];

/**
 * What a cloud's firewall lets in, as layer 05 does on the box itself: SSH on its own port, and 443 for whom the mode says.
 * @param front undefined: no gate.
 */
export function openingsOf(front: Pick<Front, 'mode' | 'direct'> | undefined, sshPort: number): Opening[] {
  const ssh = { port: sshPort, sources: EVERYONE };
  if (!front || front.mode === 'tunnel') return [ssh];
  const sources =
    front.mode === 'direct'
      ? (front.direct?.sources ?? []).map((source) =>
          source.includes('/') ? source : `${source}/${source.includes(':') ? 128 : 32}`,
        )
      : readFileSync(RANGES, 'utf8')
          .split('\n')
          .filter((line) => line && !line.startsWith('#'));
  return [ssh, { port: 443, sources }];
}

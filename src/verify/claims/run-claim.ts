import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { listFiles } from '../../manifest/layers.ts';
import { BuildError } from '../../process/errors.ts';
import type { ClaimResult, Verdict } from '../report/schema.ts';
import { putAll } from '../targets/put-all.ts';
import type { ExecResult, Peer, Target } from '../targets/target.ts';
import { type LayerClaim, offScript, scriptOf } from './load.ts';
import type { Attempt } from './schema.ts';

export interface Scene {
  root: string;
  target: Target;
  /** The hosts beside it. */
  peers: Record<'attacker' | 'proxy', Peer>;
}

/**
 * Runs one claim on a box that is ready: control, attack, sabotage, and the attack again. Nothing is ever repeated
 * until it passes. After a sabotage the box is spoilt; the caller restores or discards it.
 */
export async function runClaim(claim: LayerClaim, scene: Scene): Promise<ClaimResult> {
  const startedAt = performance.now();
  const env = await environment(scene);
  await giveScripts(claim, scene);
  const control = await attempt(claim, claim.control, scene, env);
  const attack = await attempt(claim, claim.attack, scene, env);
  const alone = claim.alsoStoppedBy.length ? await withoutOthers(claim, scene, env) : undefined;
  const sabotage = await sabotaged(claim, scene, env);
  return {
    ...identify(claim, scene.target.kind),
    control,
    attack,
    ...(alone ? { alone } : {}),
    sabotage,
    seconds: Math.round((performance.now() - startedAt) / 100) / 10,
    ok: control.ok && attack.ok && alone?.ok !== false && ('until' in sabotage || sabotage.ok),
  };
}

/** What a result says whatever came of it. */
export function identify(
  { id, promise, control, attack, sabotage }: LayerClaim,
  target: Target['kind'],
): Pick<ClaimResult, 'id' | 'promise' | 'target' | 'tried'> {
  const words = ({ from, run }: Attempt) => `${from}: ${run}`;
  const tried = {
    control: words(control),
    attack: words(attack),
    sabotage: 'until' in sabotage ? '' : `inside: ${sabotage.run}`,
  };
  return { id, promise, target, tried };
}

/** Takes away what else stops the attack: this layer must hold alone, and its sabotage then prove something. */
async function withoutOthers(claim: LayerClaim, scene: Scene, env: Record<string, string>): Promise<Verdict> {
  for (const name of claim.alsoStoppedBy) {
    const done = await scene.target.exec(readFileSync(offScript(scene.root, name), 'utf8'), { env });
    if (done.exitCode !== 0) {
      return { expected: 'off', got: `${name} can't be taken away`, ok: false, evidence: lastLines(done) };
    }
  }
  return attempt(claim, claim.attack, scene, env);
}

async function sabotaged(
  claim: LayerClaim,
  scene: Scene,
  env: Record<string, string>,
): Promise<ClaimResult['sabotage']> {
  if ('until' in claim.sabotage) return { reason: claim.sabotage.reason, until: claim.sabotage.until };
  const { run, expect } = claim.sabotage;
  const done = await scene.target.exec(run, { env });
  if (done.exitCode !== 0) {
    // systemctl only says that a job failed; why, its unit said in the journal.
    const { stdout } = await scene.target.exec('journalctl --no-pager --quiet --lines=25 --output=cat');
    const evidence = `${lastLines(done)}\nThe journal’s end:\n${stdout}`.trim();
    return { expected: expect, got: 'the sabotage itself failed', ok: false, evidence };
  }
  return attempt(claim, { ...claim.attack, expect }, scene, env);
}

/**
 * The attack on a box that lacks the claim's layer, and once more without the layers that the claim names beside it.
 * A control inside first does what it also does to be attacked: it plants a service, a key, a file.
 */
export async function attackWithout(claim: LayerClaim, scene: Scene): Promise<{ attack: Verdict; alone?: Verdict }> {
  const env = await environment(scene);
  await giveScripts(claim, scene);
  if (claim.control.from === 'inside') await attempt(claim, claim.control, scene, env);
  const attack = await attempt(claim, claim.attack, scene, env);
  return attack.ok && claim.alsoStoppedBy.length
    ? { attack, alone: await withoutOthers(claim, scene, env) }
    : { attack };
}

/** Not /tmp: a tmpfs of the running box is out of reach of a copy into the container. */
const ATTACKS = '/var/tmp';

/** Gives the box, and each peer that acts in it, the scripts of the claim's layer and those of all: one may call another. */
async function giveScripts(claim: LayerClaim, scene: Scene): Promise<void> {
  const scripts = Object.fromEntries(
    [join(claim.layer.dir, 'attacks'), join(scene.root, 'test', 'attacks')]
      .flatMap((folder) => (existsSync(folder) ? listFiles(folder) : []))
      .map((file) => [basename(file), readFileSync(file)]),
  );
  const actors = new Set([scene.target, ...[claim.control, claim.attack].map(({ from }) => actorOf(from, scene))]);
  for (const actor of actors) await putAll(actor, ATTACKS, scripts, '0755');
}

const actorOf = (from: Attempt['from'], { target, peers }: Scene): Target | Peer =>
  from === 'attacker' || from === 'proxy' ? peers[from] : target;

async function attempt(
  claim: LayerClaim,
  { from, run, expect }: Attempt,
  scene: Scene,
  env: Record<string, string>,
): Promise<Verdict> {
  const script = scriptOf(scene.root, claim.layer, run) as string;
  const args = run.split(' ').slice(1).join(' ');
  const outside = from === 'attacker' || from === 'proxy';
  const path = `${ATTACKS}/${basename(script)}`;
  const result = await actorOf(from, scene).exec(`${path} ${args}`, {
    ...(from === 'agent' ? { as: 'agent' as const } : {}),
    // From inside, the box attacks its own loopback.
    env: outside ? env : { ...env, TARGET: '', TARGET6: '' },
  });
  const outcome = /^outcome: (\S+)$/.exec(result.stdout.trimEnd().split('\n').at(-1) ?? '')?.[1];
  const got = result.exitCode === 0 && outcome ? outcome : `the attempt broke (exit ${result.exitCode})`;
  return { expected: expect, got, ok: got === expect, evidence: lastLines(result) };
}

/** Everybody's addresses, and the SSH port that first boot drew, read from the box by the hypervisor's or Docker's way in. */
async function environment({ target, peers }: Scene): Promise<Record<string, string>> {
  // Without layer 03 it is the distribution's.
  const { stdout } = await target.exec(
    'cat /var/lib/clawdy/state/ssh/port || [ -e /usr/lib/clawdy/identity.d/03-ssh ] || echo 22',
  );
  const port = stdout.trim();
  if (!/^\d+$/.test(port))
    throw new BuildError('claims', 'the box has no SSH port', "its console says why: see the report's console");
  const { attacker, proxy } = peers;
  return {
    TARGET: target.addresses.v4,
    TARGET6: target.addresses.v6,
    SSH_PORT: port,
    ATTACKER: attacker.addresses.v4,
    ATTACKER6: attacker.addresses.v6,
    PROXY: proxy.addresses.v4,
    PROXY6: proxy.addresses.v6,
  };
}

function lastLines({ stdout, stderr }: ExecResult): string {
  return `${stdout}\n${stderr}`.trim().split('\n').slice(-5).join('\n');
}

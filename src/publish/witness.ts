import { randomBytes, randomUUID } from 'node:crypto';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import type { Cloud, Job, Probe, Registered } from '../clouds/cloud.ts';
import { type Bundle, VERDICTS } from '../contract/enrolment.ts';
import { makeClientCa } from '../launch/client-ca.ts';
import { bundleFromConsole } from '../launch/console-bundle.ts';
import { type Following, follow } from '../launch/follow.ts';
import type { Front } from '../launch/front.ts';
import { launchJson, userDataOf } from '../launch/launch-json.ts';
import { openBundle } from '../launch/open-bundle.ts';
import { findSshKey } from '../launch/ssh-key.ts';
import { workFolder } from '../plan/work-folder.ts';
import { BuildError } from '../process/errors.ts';
import { lastLines, run } from '../process/run.ts';

/** The image itself failed: not a passing fault of the cloud's. What was published of it is taken back. */
export class Unfit extends BuildError {}

export interface Patience {
  /** Milliseconds between two looks. */
  pollMs: number;
  /** Milliseconds until the bundle; emulated on two busy cores it comes after one to two minutes. */
  bundleMs: number;
  /** Milliseconds until all live checks have passed; the box's own limit is 30 minutes. */
  liveMs: number;
}

const PATIENCE: Patience = { pollMs: 3000, bundleMs: 15 * 60_000, liveMs: 30 * 60_000 };

/**
 * Boots a registered image and believes nothing but what only that image, started by us, can say: a bundle with a MAC by a
 * token that was given to this machine alone, through the cloud's API. It names the image; then the box's own checks,
 * static and live, must pass.
 *
 * @returns what it said, and how long it took from its start until its live checks had passed, to the nearest look.
 * @throws Unfit when the box stays closed, says it is another image, or says nothing; BuildError when the cloud fails.
 */
export async function witness(
  cloud: Cloud,
  job: Job,
  registered: Registered,
  withGate: boolean,
  patience: Patience = PATIENCE,
): Promise<{ bundle: Bundle; bootSeconds: number }> {
  const { work, remove } = workFolder('probe');
  let probe: Probe | undefined;
  try {
    const identity = await generateX25519Identity();
    const key = await makeKey(work);
    const token = randomBytes(32).toString('base64url');
    const launchId = randomUUID();
    const recipient = await identityToRecipient(identity);
    const gate = withGate ? await gateOf(work) : undefined;
    const userData = userDataOf(launchJson({ launchId, recipient, token, userKeys: [key.publicKey], gate }));
    probe = await cloud.boot(job, registered, { userData, sshKey: key.file, work });
    const { instanceId } = probe;
    const startedAt = performance.now();
    const following: Omit<Following, 'what' | 'limitMs'> = {
      heard: () => (probe as Probe).transcript(),
      pollMs: patience.pollMs,
      detail: job.detail,
      fail: unfit,
    };
    const sealed = await follow({ ...following, what: 'its sealed bundle', limitMs: patience.bundleMs }, bundleOf);
    const bundle = await openBundle(sealed, { identity, token, launchId, instanceId, isTaken: () => false }).catch(
      (error: BuildError) => {
        throw new Unfit(
          error.step,
          error.message,
          'the cloud has other bytes than were sent: publish again, and look at who else may change them',
        );
      },
    );
    if (bundle.imageId !== job.image.id)
      throw unfit(`what was booted says it is ${bundle.imageId}`, 'what was published is taken back; publish again');
    const shown = probe.hostKey?.();
    if (shown !== undefined && shown !== bundle.ssh.hostKeys[0])
      throw unfit('another host key answered than the box has: somebody stands in between', 'publish from elsewhere');
    await follow({ ...following, what: 'its live checks', limitMs: patience.liveMs }, (text) =>
      VERDICTS.live.test(text) ? true : undefined,
    );
    return { bundle, bootSeconds: Math.round((performance.now() - startedAt) / 1000) };
  } finally {
    // What it was doing matters more than that its machine couldn't be removed: the sweep finds that by its label.
    await probe?.remove().catch((error: unknown) => job.detail(`the probe is left: ${error}`));
    remove();
  }
}

/** So that the gate starts and is checked too; 443 opens for an address that nobody has (RFC 5737), by a CA that is forgotten. */
async function gateOf(work: string): Promise<Front> {
  const { caDer } = await makeClientCa(work);
  return {
    mode: 'direct',
    hosts: ['probe.example.com'],
    users: ['probe@example.com'],
    direct: { clientCa: [caDer], sources: ['192.0.2.1/32'] },
  };
}

async function makeKey(work: string): Promise<{ file: string; publicKey: string }> {
  const file = `${work}/probe`;
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'clawdy-probe', '-f', file], { step: 'ssh key' });
  return { file, publicKey: (await findSshKey(`${file}.pub`, work)).publicKey };
}

/** A bundle that came garbled may come whole in its repeat. */
function bundleOf(text: string): Buffer | undefined {
  try {
    return bundleFromConsole(text);
  } catch {
    return undefined;
  }
}

function unfit(why: string, hint: string, said?: string): Unfit {
  return new Unfit('boot', why, hint, { tail: said ? lastLines(said) : undefined });
}

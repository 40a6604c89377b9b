import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CloudImage } from '../clouds/cloud.ts';
import type { Machine, Machines } from '../clouds/machines.ts';
import { SSH_PORTS } from '../contract/box.ts';
import { type Bundle, VERDICTS } from '../contract/enrolment.ts';
import { BuildError, renderError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { lastLines } from '../process/run.ts';
import { patientReader } from './console-bundle.ts';
import { follow } from './follow.ts';
import { type Front, type Learning, openingsOf } from './front.ts';
import { beginLaunch, newRun } from './journal.ts';
import type { Keys } from './local/launch.ts';
import { forget } from './local/stop.ts';
import { openBundle } from './open-bundle.ts';
import { encryptTo } from './operator.ts';
import { machineDir } from './places.ts';
import { type Prepared, prepareLaunch } from './prepare.ts';
import { type InstanceRecord, writeRecord } from './records.ts';

/** Milliseconds. A cloud's machine has its bundle within a minute or two, OpenClaw within five; a console lags by minutes (AWS). */
const LIMITS = { bundle: 15 * 60_000, live: 30 * 60_000, poll: 5000 } as const;

export interface HostedLaunch {
  image: CloudImage;
  keys: Keys;
  front: Front;
  /** As the cloud calls its sizes; undefined: the cheapest that OpenClaw runs on. */
  size: string | undefined;
  learning: Learning;
  /** Wait until OpenClaw answers and the box's live check has passed. */
  wait: boolean;
  /** The instance that this one takes the place of. */
  replaces?: string;
}

/** What a launch asks of others than the cloud; tests have their own. */
export interface Outside {
  checkHostKey(address: string, port: number, hostKey: string): Promise<void>;
  /** Hears an instance by its operators' channel. */
  byChannel(address: string, key: string): { heard: () => Promise<string>; close: () => void };
  /** Whether all of the instance's own checks have passed. @throws BuildError where it closed itself. */
  isLive(record: InstanceRecord): Promise<boolean>;
  /** The bundle that an instance brings to the auth proxy, and what ends its launch there. */
  atProxy?: {
    expect(launch: Prepared['expected']): Promise<void>;
    take(launch: Prepared['expected'] & { instanceId: string }, detail: (text: string) => void): Promise<TakenBundle>;
    withdraw(launch: Prepared['expected']): Promise<void>;
  };
}
interface TakenBundle {
  bundle: Bundle;
  close: () => Promise<void>;
}

/**
 * Launches a published image in a cloud, behind a closed firewall; learns, by its sealed bundle, how to reach it; opens what layer
 * 05 opens; and keeps a record. What fails leaves nothing there, and what is killed the next launch, list or stop removes.
 */
export async function launchHosted(
  machines: Machines,
  options: HostedLaunch,
  outside: Outside,
  progress: Progress,
): Promise<InstanceRecord> {
  const { image, keys, front, learning } = options;
  const { region } = image;
  const run = newRun();
  const prepared = await prepareLaunch(keys.userKeys, front);
  const end = beginLaunch(machines.name, region, run);
  let id: string | undefined;
  try {
    if (learning.by === 'url') await outside.atProxy?.expect(prepared.expected);
    const machine = await progress.step(`start ${image.image} in ${region}`, ({ detail }) =>
      machines.start(
        { run, region, detail },
        { image, userData: prepared.userData, size: options.size, name: `clawdy-${run}` },
      ),
    );
    id = machine.instanceId;
    const address = addressOf(machine);
    const { bundle, close } = await progress.step('wait for its sealed bundle', ({ detail }) =>
      learn(machines, machine, prepared, learning, outside, detail),
    );
    if (bundle.imageId !== image.image)
      throw new BuildError(
        'enrolment',
        `the instance says it is image ${bundle.imageId}`,
        `it should be ${image.image}`,
      );
    if (!bundle.gate) throw new BuildError('enrolment', 'the bundle says nothing of a gate', 'publish another image');
    const { port, hostKeys } = bundle.ssh;
    await progress.step('open its firewall for what the box itself lets in', () =>
      machines.open(region, machine.instanceId, openingsOf(front, port)),
    );
    await progress.step('check the host key', () => outside.checkHostKey(address, port, hostKeys[0] as string));
    const record: InstanceRecord = {
      ...{ version: 1, cloud: machines.name as InstanceRecord['cloud'], region, run },
      ...{ instance_id: machine.instanceId, launch_id: bundle.launchId, image_id: bundle.imageId },
      ...{ created: new Date().toISOString(), address, user: front.users[0] as string },
      ssh: {
        ...{ user: 'clawdy', port, host_key: hostKeys[0] as string, guest_port: port },
        identity_file: keys.privateFile ?? null,
      },
      ...{ ops_identity_file: prepared.opsKey.privateFile, instance_key: bundle.instanceKey ?? null },
      instance_key_next: null,
      // The gate is the auth proxy's to ask.
      ...{ gate_url: null, client_certificate: null, client_key: null },
      gate_certificate: bundle.gate.certificate,
      code_encrypted: await encryptTo(prepared.operator.recipient, bundle.code),
      launch: { size: options.size ?? null, user_keys: keys.userKeys, front, learning },
      ...{ replaces: options.replaces ?? null, retired: false, qemu: null, disk: null },
    };
    if (options.wait)
      await progress.step('wait for OpenClaw and the live check', ({ detail }) => live(record, outside, detail));
    const dir = machineDir(machine.instanceId);
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writeFileSync(join(dir, 'known_hosts'), `[${address}]:${port} ${record.ssh.host_key}\n`, { mode: 0o600 });
    writeRecord(record);
    await machines.keep(region, machine.instanceId);
    await close();
    end();
    return record;
  } catch (error) {
    try {
      await machines.sweep(region, run);
      // What `keep` let go is no temporary of the run's any more.
      if (id) {
        await machines.destroy(region, id);
        // Last: as long as there is a machine, its record is how it is found.
        forget(id);
      }
      if (learning.by === 'url') await outside.atProxy?.withdraw(prepared.expected);
      end();
    } catch (left) {
      // Its note stays, so the next launch, list or stop does this again.
      process.stderr.write(
        `what this launch made isn't removed yet; the next launch or list tries again\n${renderError(left)}\n`,
      );
    }
    throw error;
  }
}

function addressOf({ address, instanceId }: Machine): string {
  if (address) return address;
  throw new BuildError('launch', `${instanceId} has no public address`, 'does its subnet give one to machines?');
}

async function learn(
  machines: Machines,
  machine: Machine,
  { expected: known, opsKey }: Prepared,
  learning: Learning,
  outside: Outside,
  detail: (text: string) => void,
): Promise<TakenBundle> {
  const { region, instanceId } = machine;
  const expected = { ...known, instanceId };
  if (learning.by === 'url') {
    if (!outside.atProxy) throw new BuildError('launch', 'no auth proxy is known', '--edge edge.yaml');
    return outside.atProxy.take(expected, detail);
  }
  let channel: ReturnType<Outside['byChannel']> | undefined;
  try {
    if (learning.by === 'channel') {
      // Just for whoever launches, and just until the box's own port is known.
      const ports = { port: SSH_PORTS.first, to: SSH_PORTS.last };
      await machines.open(region, instanceId, [{ ...ports, sources: learning.from }]);
      channel = outside.byChannel(addressOf(machine), opsKey.privateFile);
    }
    const console = () => (machines.console as NonNullable<Machines['console']>)(region, instanceId);
    const sealed = await follow(
      {
        ...{ heard: channel?.heard ?? console, what: 'the sealed bundle', detail, fail: failed },
        ...{ limitMs: LIMITS.bundle, pollMs: LIMITS.poll },
      },
      patientReader(),
    );
    return { bundle: await openBundle(sealed, expected), close: async () => {} };
  } finally {
    channel?.close();
  }
}

function live(record: InstanceRecord, { isLive }: Outside, detail: (text: string) => void): Promise<true> {
  return follow(
    {
      heard: async () => ((await isLive(record)) ? 'clawdy: live ok' : ''),
      ...{ what: 'its live checks', limitMs: LIMITS.live, pollMs: LIMITS.poll, detail, fail: failed },
    },
    (text) => (VERDICTS.live.test(text) ? true : undefined),
  );
}

function failed(why: string, hint: string, said: string): BuildError {
  return new BuildError('launch', why, hint, { tail: said ? lastLines(said) : undefined });
}

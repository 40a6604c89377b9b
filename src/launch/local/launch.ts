import { copyFileSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { VERDICTS } from '../../contract/enrolment.ts';
import { GATE_PORT } from '../../contract/gate.ts';
import type { ImageManifest } from '../../manifest/image.ts';
import { BuildError } from '../../process/errors.ts';
import type { Progress } from '../../process/progress.ts';
import { makeClientCa } from '../client-ca.ts';
import { patientReader } from '../console-bundle.ts';
import type { Front } from '../front.ts';
import { openBundle } from '../open-bundle.ts';
import { encryptTo } from '../operator.ts';
import { instancesDir } from '../places.ts';
import { prepareLaunch } from '../prepare.ts';
import { type InstanceRecord, removeRecord, writeRecord } from '../records.ts';
import { findSshKey, type SshKey } from '../ssh-key.ts';
import { holdPort } from './free-port.ts';
import { checkGate } from './gate.ts';
import { checkHostKey } from './host-key.ts';
import { bootMachine, FORWARDER, forward, type LocalMachine, reserveMachine } from './machine.ts';
import { disown } from './owner.ts';

const ADDRESS = '127.0.0.1';
/** Host name of the gate: user-mode forwards end here. */
const HOST = 'localhost';
/** The layer without which an image has no gate. */
const GATE_LAYER = '02-auth-code';

/**
 * Milliseconds. Emulated on two busy cores the bundle comes after one to two minutes and OpenClaw after two to four; the
 * box's own limit for its live check is 30 minutes.
 */
const LIMITS = { bundle: 15 * 60_000, live: 30 * 60_000 } as const;

export interface LocalLaunch {
  image: LocalImage;
  /** File of the public key that may log in, or the keys of an instance that this one takes the place of. */
  sshKey: string | undefined | Keys;
  /** Whom the gate is told. */
  user: string;
  /** Wait until OpenClaw answers and the box's live check has passed. */
  wait: boolean;
  /** A launch that fails leaves its folder. */
  keep: boolean;
  /** The instance that this one takes the place of. */
  replaces?: string;
}

/** What of an image a launch here needs, whether it was baked here or published to this computer's store. */
export interface LocalImage {
  id: string;
  /** Its qcow2, absolute; stays under the instance's own. */
  disk: string;
  gate: boolean;
}

/** Who may log in, and the private half where it is known. */
export interface Keys {
  userKeys: string[];
  privateFile: string | undefined;
}

/** Whether an image lets anyone reach OpenClaw from outside. */
export function hasGate(image: ImageManifest): boolean {
  return image.layers.some(({ name, state }) => name === GATE_LAYER && state === 'active');
}

/**
 * Launches an image in a machine of this computer and learns, by its sealed bundle, how to reach it. What fails, or is
 * interrupted, leaves nothing behind.
 */
export async function launchLocal(options: LocalLaunch, progress: Progress): Promise<InstanceRecord> {
  const { id, dir } = reserveMachine(options.keep);
  const forget = () => {
    if (!options.keep) rmSync(dir, { recursive: true, force: true });
  };
  // Until the guard of the machine is there to do it.
  process.once('exit', forget);
  let machine: LocalMachine | undefined;
  try {
    const launch = await progress.step(`prepare ${id}`, () => prepare(id, dir, options));
    machine = await progress.step('switch on', () =>
      bootMachine({
        id,
        dir,
        image: options.image.disk,
        userData: launch.userData,
        keepDir: options.keep,
      }),
    );
    const record = await enrol(id, dir, machine, launch, options, progress);
    if (options.wait) {
      await progress.step('wait for OpenClaw and the live check (minutes under emulation)', (step) =>
        follow(machine as LocalMachine, 'live ok', LIMITS.live, step.detail, (text) =>
          VERDICTS.live.test(text) ? true : undefined,
        ),
      );
      const { gate_url: url, gate_certificate: certificate } = record;
      const client = launch.gate?.client;
      if (url && certificate && client) {
        await progress.step('shake hands with the gate, check its certificate', () =>
          checkGate(url, certificate, client),
        );
      }
    }
    writeRecord(record);
    disown(dir);
    await machine.guarded.keep();
    process.off('exit', forget);
    return record;
  } catch (error) {
    await machine?.guarded.end();
    forget();
    removeRecord(id);
    throw options.keep ? error : withoutLog(error, dir);
  } finally {
    process.off('exit', forget);
    machine?.qmp.close();
  }
}

/** The log went with the folder. */
function withoutLog(error: unknown, dir: string): unknown {
  if (!(error instanceof BuildError) || !error.log?.startsWith(dir)) return error;
  return new BuildError(error.step, error.message, 'repeat it with --keep, which leaves the logs', {
    tail: error.tail,
    exitCode: error.exitCode,
    cause: error,
  });
}

type Prepared = Awaited<ReturnType<typeof prepare>>;

async function prepare(id: string, dir: string, { sshKey, image, user }: LocalLaunch) {
  const keys = typeof sshKey === 'object' ? inherited(sshKey, dir) : keysOf(await findSshKey(sshKey, dir));
  const gate = image.gate ? { port: await holdPort(), client: await makeClientCa(dir) } : undefined;
  const front: Front | undefined = gate && {
    mode: 'direct',
    hosts: [`${HOST}:${gate.port.port}`],
    users: [user],
    direct: { clientCa: [gate.client.caDer], sources: [FORWARDER] },
  };
  const { expected, ...prepared } = await prepareLaunch(keys.userKeys, front);
  return { ...prepared, keys, gate, expected: { ...expected, instanceId: id } };
}

/** A pair that was made for the predecessor lies in that one's folder, and would go with it. */
function inherited({ userKeys, privateFile }: Keys, dir: string): Keys {
  if (!privateFile?.startsWith(`${instancesDir()}/`)) return { userKeys, privateFile };
  const own = join(dir, basename(privateFile));
  for (const suffix of ['', '.pub'])
    if (existsSync(privateFile + suffix)) copyFileSync(privateFile + suffix, own + suffix);
  return { userKeys, privateFile: own };
}

const keysOf = ({ publicKey, privateFile }: SshKey): Keys => ({ userKeys: [publicKey], privateFile });

/** Waits for the bundle, opens it, opens the ways that it names and looks at who answers there. */
async function enrol(
  id: string,
  dir: string,
  machine: LocalMachine,
  { operator, keys, opsKey, gate, expected }: Prepared,
  options: LocalLaunch,
  progress: Progress,
): Promise<InstanceRecord> {
  const { qmp, guarded } = machine;
  const sealed = await progress.step('wait for the instance’s sealed bundle', (step) =>
    follow(machine, 'the sealed bundle', LIMITS.bundle, step.detail, patientReader()),
  );
  return progress.step('open the bundle, check the host key', async () => {
    const bundle = await openBundle(sealed, expected);
    if (bundle.imageId !== options.image.id) {
      throw new BuildError(
        'enrolment',
        `the instance says it is image ${bundle.imageId}`,
        `it should be ${options.image.id}`,
      );
    }
    if (gate && !bundle.gate) {
      throw new BuildError(
        'enrolment',
        'the image has a gate and the bundle says nothing of it',
        'bake the image anew',
      );
    }
    const port = await forward(qmp, 0, bundle.ssh.port);
    const hostKey = bundle.ssh.hostKeys[0] as string;
    await checkHostKey(ADDRESS, port, hostKey);
    writeFileSync(join(dir, 'known_hosts'), `[${ADDRESS}]:${port} ${hostKey}\n`, { mode: 0o600 });
    let gateUrl: string | null = null;
    if (gate && bundle.gate) {
      await gate.port.release();
      gateUrl = `https://${HOST}:${await forward(qmp, gate.port.port, GATE_PORT)}/`;
      writeFileSync(join(dir, 'gate.crt'), bundle.gate.certificate, { mode: 0o600 });
    }
    return {
      version: 1,
      cloud: 'local',
      instance_id: id,
      launch_id: bundle.launchId,
      image_id: bundle.imageId,
      created: new Date().toISOString(),
      address: ADDRESS,
      ssh: {
        user: 'clawdy',
        port,
        host_key: hostKey,
        guest_port: bundle.ssh.port,
        identity_file: keys.privateFile ?? null,
      },
      ops_identity_file: opsKey.privateFile,
      instance_key_next: null,
      instance_key: bundle.instanceKey ?? null,
      gate_url: gateUrl,
      gate_certificate: bundle.gate?.certificate ?? null,
      client_certificate: gate?.client.certificate ?? null,
      client_key: gate?.client.key ?? null,
      user: options.user,
      ...{ region: null, run: null, replaces: options.replaces ?? null, retired: false },
      // Its front is made anew each time: the gate's port here is another.
      launch: { size: null, user_keys: keys.userKeys, front: null, learning: { by: 'console' } },
      code_encrypted: await encryptTo(operator.recipient, bundle.code),
      qemu: { ...guarded.identity, qmp: machine.qmpPath },
      disk: machine.disk,
    };
  });
}

/** Follows the console until `inspect` has what it wants; `clawdy: closed: …` ends it at once, with that reason. */
function follow<T>(
  { console, guarded }: LocalMachine,
  what: string,
  limitMs: number,
  detail: (text: string) => void,
  inspect: (text: string) => T | undefined,
): Promise<T> {
  return console.watch(
    what,
    (text) => {
      const reason = VERDICTS.closed.exec(text)?.groups?.reason;
      if (reason !== undefined) {
        throw new BuildError('launch', `the instance stays closed: ${reason}`, 'mend the cause and launch anew', {
          log: console.file,
        });
      }
      detail(text.trimEnd().split('\n').at(-1) ?? '');
      return inspect(text);
    },
    limitMs,
    guarded.alive,
  );
}

import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { probeAccelerator } from '../../doctor/accelerator.ts';
import { BuildError, EXIT, inputError } from '../../process/errors.ts';
import { type Guarded, startGuarded } from '../../process/guarded.ts';
import { lastLines, run } from '../../process/run.ts';
import { Console } from '../../verify/lab/console.ts';
import { CONSOLE_FILE, MEMORY_MIB, machineArgs, SOCKETS } from '../../verify/lab/qemu-args.ts';
import { Qmp } from '../../verify/lab/qmp.ts';
import { SEED_FILE, writeSeed } from '../../verify/lab/seed.ts';
import { machineDir } from '../places.ts';
import { own } from './owner.ts';

const DISK = 'disk.qcow2';

/** A unix socket's path has at most 107 characters: unix(7). */
const SOCKET_PATH_MAX = 107;

/**
 * What QEMU itself may not do, whatever a guest talks it into: https://www.qemu.org/docs/master/system/security.html
 */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Where forwarded connections seem to come from, inside: user-mode networking's own router. */
export const FORWARDER = '10.0.2.2/32';

/**
 * An instance's folder, under a name that nobody else has taken.
 * @param keepDir it stays although its launch fails, or is killed.
 */
export function reserveMachine(keepDir: boolean): { id: string; dir: string } {
  for (;;) {
    const id = `local-${randomBytes(4).toString('hex')}`;
    const dir = machineDir(id);
    if (join(dir, SOCKETS.qmp).length > SOCKET_PATH_MAX) {
      throw inputError(
        'launch',
        `${dir} is too long a path for QEMU's socket (${SOCKET_PATH_MAX} characters)`,
        'set XDG_STATE_HOME to a shorter one',
      );
    }
    try {
      mkdirSync(dir, { mode: 0o700 });
      if (!keepDir) own(dir);
      return { id, dir };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

export interface LocalMachine {
  guarded: Guarded;
  qmp: Qmp;
  qmpPath: string;
  console: Console;
  disk: string;
}

export interface NewMachine {
  id: string;
  dir: string;
  /** Disk of the image, qcow2; only ever the overlay's backing file. */
  image: string;
  userData: string;
  /** What is in `dir` stays when the machine is ended before `guarded.keep()`. */
  keepDir: boolean;
}

/** 52:54:00 is QEMU's range of locally made addresses. Each machine is alone on its network. */
const MAC = '52:54:00:78:60:01';

/** Switches on a new machine on an overlay of an image's disk. It dies with this process until `guarded.keep()`. */
export async function bootMachine({ id, dir, image, userData, keepDir }: NewMachine): Promise<LocalMachine> {
  const disk = join(dir, DISK);
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', image, disk], { step: 'launch' });
  await writeSeed(dir, { instanceId: id, hostname: id, mac: MAC, network: 'dhcp', userData });
  rmSync(join(dir, 'seed'), { recursive: true });
  return switchOn({ id, dir, keepDir });
}

/** Switches on a machine whose disk and seed are there. */
export async function switchOn({ id, dir, keepDir }: Omit<NewMachine, 'image' | 'userData'>): Promise<LocalMachine> {
  const disk = join(dir, DISK);
  const hardware = {
    accelerator: await probeAccelerator(),
    memoryMiB: MEMORY_MIB,
    firmware: 'bios' as const,
    overlay: disk,
    seed: join(dir, SEED_FILE),
    mac: MAC,
    work: dir,
    uuid: randomUUID(),
  };
  const log = join(dir, 'qemu.log');
  // Without IPv6: the forwards are IPv4's, and the guest would find no way out.
  const args = [...machineArgs(hardware, 'user,ipv6=off'), '-name', id, '-sandbox', SANDBOX];
  const folder = keepDir ? undefined : dir;
  let guarded: Guarded | undefined;
  try {
    guarded = await startGuarded('qemu-system-x86_64', args, { log, folder });
    const qmpPath = join(dir, SOCKETS.qmp);
    const qmp = await Qmp.open(qmpPath, guarded.alive);
    const console = new Console(join(dir, CONSOLE_FILE));
    qmp.on('RESET', () => console.mark());
    return { guarded, qmp, qmpPath, console, disk };
  } catch (cause) {
    const said = existsSync(log) ? lastLines(readFileSync(log, 'utf8')) : undefined;
    await guarded?.end();
    if (cause instanceof BuildError && cause.exitCode === EXIT.prerequisite) throw cause;
    throw new BuildError('launch', 'QEMU did not start', 'npm run doctor tries what it needs', {
      tail: said || (cause instanceof BuildError ? cause.tail : undefined),
      log: keepDir ? log : undefined,
      cause,
    });
  }
}

/**
 * Lets connections to a port of this machine's loopback through to one of the guest.
 * @param host 0 lets the kernel choose.
 * @returns the port here.
 */
export async function forward(qmp: Qmp, host: number, guest: number): Promise<number> {
  const said = await qmp.monitor(`hostfwd_add net tcp:127.0.0.1:${host}-:${guest}`);
  if (said) throw new BuildError('launch', `QEMU can't forward to port ${guest}: ${said}`, 'is the port taken here?');
  const port = forwards(await qmp.monitor('info usernet')).find((one) => one.guest === guest)?.host;
  if (!port) throw new BuildError('launch', `QEMU doesn't list the forward to port ${guest}`, 'a bug: report it');
  return port;
}

/**
 * Reads the monitor's table of user-mode networking (QEMU, net/slirp.c and libslirp's slirp_connection_info): state,
 * descriptor, source address and port, destination address and port, queues.
 */
export function forwards(table: string): { host: number; guest: number }[] {
  return [...table.matchAll(/TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)/g)].map(([, host, guest]) => ({
    host: Number(host),
    guest: Number(guest),
  }));
}

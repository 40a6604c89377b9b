import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Encrypter } from 'age-encryption';
import { BUNDLE_LINES, type Bundle, bundleMac } from '../../src/contract/enrolment.ts';
import type { InstanceRecord } from '../../src/launch/records.ts';
import { identify } from '../../src/process/guarded.ts';

/** Not test/image.ts's: that reads all layers. */
export const ROOT = join(import.meta.dirname, '../..');

/** An instance's record in every member. */
export const RECORD: InstanceRecord = {
  version: 1,
  cloud: 'local',
  instance_id: 'local-1',
  launch_id: 'launch-1',
  image_id: 'debian-13-20261122T155250Z-c7d31ac0',
  created: '2026-11-22T16:00:00.000Z',
  address: '127.0.0.1',
  ssh: {
    user: 'clawdy',
    port: 40_000,
    host_key: `ssh-ed25519 ${'A'.repeat(68)}`,
    guest_port: 20_000,
    identity_file: '/keys/with space',
  },
  ops_identity_file: '/keys/ops',
  instance_key_next: null,
  instance_key: '-----BEGIN PUBLIC KEY-----',
  gate_url: 'https://localhost:40001/',
  gate_certificate: '-----BEGIN CERTIFICATE-----',
  client_certificate: '/x/client.crt',
  client_key: '/x/client.key',
  user: 'owner@localhost',
  code_encrypted: '-----BEGIN AGE ENCRYPTED FILE-----\n',
  ...{ region: null, run: null, launch: null, replaces: null, retired: false },
  qemu: { pid: 1, start_ticks: 1, boot_id: 'b', qmp: '/x/qmp.sock' },
  disk: '/x/disk.qcow2',
};

/** A sound bundle, without what layers may leave out. */
export const BUNDLE: Bundle = {
  version: 1,
  launchId: 'launch-1',
  instanceId: 'i-1',
  imageId: RECORD.image_id,
  code: 'the-code-that-nobody-may-ever-read-anywhere',
  ssh: { port: 20_000, hostKeys: [RECORD.ssh.host_key] },
};

/** @param body whatever it is, it is authenticated. */
export async function envelope(body: unknown, token: string): Promise<string> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return JSON.stringify({ body: text, mac: await bundleMac(token, text) });
}

export async function seal(text: string, recipient: string): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return encrypter.encrypt(text);
}

/** A sealed bundle as boot/enrol prints it. */
export function consoleLines(sealed: Uint8Array): string[] {
  const text = Buffer.from(sealed).toString('base64');
  const chunks = text.match(new RegExp(`.{1,${BUNDLE_LINES.chunk}}`, 'g')) ?? [];
  return [
    ...chunks.map((chunk, index) => `clawdy: bundle ${index + 1}/${chunks.length} ${chunk}`),
    `clawdy: bundle end sha256=${createHash('sha256').update(sealed).digest('hex')}`,
  ];
}

export const FAKE_QEMU = join(import.meta.dirname, 'fake-qemu');

/** An image with an empty disk. */
export function makeImage(dir: string, layers: string[] = []): string {
  mkdirSync(dir);
  spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', join(dir, 'disk.qcow2'), '1M']);
  const sha256 = '0'.repeat(64);
  const manifest = {
    schema: 1,
    id: BUNDLE.imageId,
    created: '2026-11-22T15:52:50.000Z',
    inputHash: sha256,
    base: { id: 'debian-13', sha256 },
    disk: { rawSha256: sha256, rawSize: 1, qcow2Size: 1 },
    layers: layers.map((name) => ({ name, state: 'active', sha256 })),
    without: [],
    packages: [],
    runtime: { openclaw: '1', node: '1' },
    accelerator: 'tcg',
    prepared: sha256,
    steps: [],
    seconds: 1,
  };
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest));
  return dir;
}

export interface Launch {
  child: ChildProcess;
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
  home: string;
  /** Where its instances are. */
  dir: string;
  /** Waits for something. @throws when the launch ends before. */
  until: (there: () => boolean) => Promise<void>;
  /** What QEMU was started with, once it was. */
  qemu: () => Promise<{ pid: number; arguments: string[]; environment: Record<string, string> }>;
}

/** Runs `build.ts launch` as somebody whose programs are `bin` before all others. */
export class Launcher {
  readonly #work: string;

  /** @param work an empty folder. */
  constructor(work: string) {
    this.#work = work;
    mkdirSync(this.bin);
    copyFileSync(FAKE_QEMU, join(this.bin, 'qemu-system-x86_64'));
  }

  get bin(): string {
    return join(this.#work, 'bin');
  }

  /** A shell script that stands before the program of this name. */
  put(name: string, script: string): void {
    writeFileSync(join(this.bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  /** @param env FAKE_… are fake-qemu's; without a HOME it gets state, configuration and home of its own. */
  launch(words: string[], env: Record<string, string> = {}): Launch {
    const home = env.HOME ?? mkdtempSync(join(this.#work, 'home-'));
    const argv = join(home, 'argv.json');
    const child = spawn(process.execPath, [join(ROOT, 'build.ts'), 'launch', ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: `${this.bin}:${process.env.PATH}`,
        HOME: home,
        XDG_STATE_HOME: join(home, 'state'),
        XDG_CONFIG_HOME: join(home, 'config'),
        CLAWDY_ACCEL: 'tcg',
        FAKE_ARGV: argv,
        FAKE_CONSOLE: 'booting',
        ...env,
      },
    });
    let [stdout, stderr, over] = ['', '', false];
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    const ended = once(child, 'close').then(([code]) => {
      over = true;
      return { code, stdout, stderr };
    });
    const until = async (there: () => boolean) => {
      while (!there()) {
        if (over) throw new Error(`the launch has ended: ${stderr}`);
        await sleep(50);
      }
    };
    return {
      child,
      ended,
      home,
      dir: join(home, 'state', 'clawdy', 'instances'),
      until,
      qemu: async () => {
        await until(() => existsSync(argv) && readFileSync(argv, 'utf8').endsWith('}'));
        return JSON.parse(readFileSync(argv, 'utf8'));
      },
    };
  }
}

/** launch.json in the seed of an instance's folder. */
export function seededLaunch(dir: string): { launchId: string; recipient: string; token: string } {
  const out = join(mkdtempSync(join(dir, '..', '..', 'seed-')), 'user-data');
  spawnSync('xorriso', ['-osirrox', 'on', '-indev', join(dir, 'seed.iso'), '-extract', '/user-data', out]);
  const text = readFileSync(out, 'utf8');
  spawnSync('rm', ['-rf', join(out, '..')]);
  return JSON.parse(JSON.parse(text.split('\n')[1] as string).write_files[0].content);
}

const runs = (pid: number) => identify(pid) !== undefined;

/** Whether a process ends within 10 s, and nothing is left in a folder. */
export async function gone(dir: string, pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100 && (runs(pid) || readdirSync(dir).length); tries++) await sleep(100);
  return !runs(pid) && readdirSync(dir).length === 0;
}

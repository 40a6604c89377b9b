import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Accelerator, cpuArgs } from '../doctor/accelerator.ts';
import { BuildError } from '../process/errors.ts';
import { lastLine } from '../process/run.ts';
import { sequence } from '../process/sequence.ts';

/** Enough for apply and seal under emulation on a busy machine; measured: one to two minutes. */
const APPLY_LIMIT_MINUTES = 25;

export interface PackerInputs {
  /** The project's root. */
  root: string;
  /** The disk to boot, qcow2. */
  disk: string;
  /** Archive of the payload folder: apply.sh, seal.sh and what they read. */
  payload: string;
  /** A file that the guest finds as the disk /dev/disk/by-id/virtio-<name>, read-only. */
  attach?: { name: string; file: string };
  /** Default: what applying layers may take. */
  limitMinutes?: number;
  /** Folder for this run alone; the baked disk ends in its `out/`. */
  work: string;
  accelerator: Accelerator;
  /** Log file of Packer. */
  log: string;
}

/**
 * Boots a disk, runs the payload's apply.sh in it and seals it.
 *
 * Packer and its QEMU live in a PID namespace that dies with this process, so that no bake, however it ends, leaves
 * a stray QEMU; on a failure the disk stays (`-on-error=abort`) for `make shell`.
 *
 * @returns the baked disk.
 */
export async function runPacker(inputs: PackerInputs, detail: (text: string) => void): Promise<string> {
  const { work, log } = inputs;
  const template = join(work, 'template');
  mkdirSync(template, { recursive: true });
  cpSync(join(inputs.root, 'packer', 'clawdy.pkr.hcl'), join(template, 'clawdy.pkr.hcl'));
  const output = join(work, 'out');
  const variables = join(work, 'bake.pkrvars.hcl');
  const sh = sequence(
    {
      step: 'packer',
      hint: 'make shell boots an overlay of the failed disk; the guest console is beside the log',
      log,
      env: {
        PACKER_CACHE_DIR: join(work, 'cache'),
        CHECKPOINT_DISABLE: '1',
        PACKER_LOG: '1',
        PACKER_LOG_PATH: join(work, 'packer-debug.log'),
      },
      tail: provisionerLines,
    },
    inputs.limitMinutes ?? APPLY_LIMIT_MINUTES,
  );
  const key = join(work, 'key');
  await sh`ssh-keygen -q -t ed25519 -N ${''} -C clawdy-bake -f ${key}`;
  writeSeed(work, readFileSync(`${key}.pub`, 'utf8').trim());
  if (needsPlugins(await sh`packer --version`)) {
    cpSync(join(inputs.root, 'packer', 'plugins.pkr.hcl'), join(template, 'plugins.pkr.hcl'));
    await sh`packer init ${template}`;
  }
  const { disk: booted, payload, accelerator } = inputs;
  const machine = [...machineArgs(accelerator), ...attachArgs(inputs.attach)];
  writeFileSync(variables, hclVariables({ disk: booted, payload, work, output, accelerator, machine }));
  const timer = setInterval(() => detail(lastConsoleLine(join(work, 'console.log'))), 2000);
  try {
    // `exec`: the death signal must watch this process, not the shell between.
    await sh`exec setpriv --pdeathsig KILL ${NAMESPACE} packer build -color=false -on-error=abort -var-file=${variables} ${template}`;
  } finally {
    clearInterval(timer);
    rmSync(key);
  }
  const disk = join(output, 'disk.qcow2');
  if (!existsSync(disk)) throw new BuildError('packer', 'Packer ended well but left no disk', 'read its log', { log });
  return disk;
}

/** What the failed provisioner said: Packer's own closing words would fill the tail. */
function provisionerLines(output: string): string {
  return output
    .split('\n')
    .filter((line) => /^(==> | {4})qemu\.clawdy: /.test(line) && !/skipping cleanup|aborting\.\.\.$/.test(line))
    .map((line) => line.replace(/^(==> | {4})qemu\.clawdy: /, ''))
    .join('\n');
}

/** `unshare` flags; without root a user namespace makes the PID namespace possible. */
const NAMESPACE = [
  'unshare',
  ...(process.getuid?.() === 0 ? [] : ['--user', '--map-current-user']),
  '--pid',
  '--fork',
  '--kill-child=KILL',
];

function machineArgs(accelerator: Accelerator): string[][] {
  // Debian 13 under SeaBIOS hangs after GRUB without a display adapter. Packer's own -machine would name an accelerator too.
  const args = ['-machine', 'q35', ...cpuArgs(accelerator), '-vga', 'std'];
  return args.flatMap((word, index) => (index % 2 ? [] : [[word, args[index + 1] as string]]));
}

/**
 * Not `-drive`: given once, Packer would take it for its own disk's. The last free PCI slot, because the BIOS boots the first
 * disk it finds. A comma in a path is doubled (qemu(1)).
 */
function attachArgs(attach: PackerInputs['attach']): string[][] {
  if (!attach) return [];
  const file = attach.file.replaceAll(',', ',,');
  return [
    ['-blockdev', `driver=raw,node-name=attached,read-only=on,file.driver=file,file.filename=${file}`],
    ['-device', `virtio-blk-pci,drive=attached,serial=${attach.name},addr=0x1e`],
  ];
}

/** HCL's literal syntax for strings and lists is JSON's, but for `${`. */
function hclVariables(values: Record<string, unknown>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} = ${JSON.stringify(value).replaceAll('${', '$${')}\n`)
    .join('');
}

/** A cloud-init seed that lets root in by a key that lives as long as this bake. */
function writeSeed(work: string, publicKey: string): void {
  const seed = join(work, 'seed');
  mkdirSync(seed, { recursive: true });
  writeFileSync(join(seed, 'meta-data'), 'instance-id: bake\nlocal-hostname: bake\n');
  // `locale: false`: cloud-init would leave the build's locale in /etc. The root's size is ours to say, not growpart's.
  const userData = {
    locale: false,
    growpart: { mode: 'off' },
    resize_rootfs: false,
    users: [],
    disable_root: false,
    ssh_authorized_keys: [publicKey],
  };
  writeFileSync(join(seed, 'user-data'), `#cloud-config\n${JSON.stringify(userData)}\n`);
  writeFileSync(join(seed, 'vendor-data'), '');
}

/** Packer 1.7 made builders plugins that `packer init` fetches. */
function needsPlugins(version: string): boolean {
  const [major = 0, minor = 0] = (version.match(/\d+\.\d+/)?.[0] ?? '0.0').split('.').map(Number);
  return major > 1 || minor >= 7;
}

/** What the guest said last on its serial console, or an empty text. */
export function lastConsoleLine(file: string): string {
  return existsSync(file) ? lastLine(readFileSync(file, 'utf8')) : '';
}

import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Accelerator, cpuArgs } from '../../doctor/accelerator.ts';
import { BuildError, EXIT } from '../../process/errors.ts';
import { run } from '../../process/run.ts';
import { agentArgs } from './root-agent.ts';

export interface Hardware {
  accelerator: Accelerator;
  memoryMiB: number;
  firmware: 'bios' | 'uefi';
  overlay: string;
  seed: string;
  tap: string;
  mac: string;
  /** Folder for sockets, firmware variables and the console. */
  work: string;
  /** The machine's own serial number, which clouds use as instance ID. */
  uuid: string;
  extraArgs: readonly string[];
}

/** Where Debian 12 and 13 and Ubuntu 24.04 put OVMF's code and empty variables. */
const FIRMWARE = ['_4M', ''].map((size) => ({
  code: `/usr/share/OVMF/OVMF_CODE${size}.fd`,
  vars: `/usr/share/OVMF/OVMF_VARS${size}.fd`,
}));

export const SOCKETS = { qmp: 'qmp.sock', root: 'root.sock' } as const;

/** QEMU's command line for one machine of the lab. */
export function qemuArgs(hardware: Hardware): string[] {
  const { work, memoryMiB, overlay, seed, tap, mac } = hardware;
  const pairs: [string, string][] = [
    ['-machine', 'q35'],
    ['-smp', '2'],
    ['-m', String(memoryMiB)],
    ['-uuid', hardware.uuid],
    // Debian's GRUB hangs under SeaBIOS when there is no display adapter at all.
    ['-vga', 'std'],
    ['-display', 'none'],
    ['-drive', `if=virtio,format=qcow2,discard=unmap,file=${quoteComma(overlay)}`],
    ['-drive', `if=virtio,format=raw,readonly=on,file=${quoteComma(seed)}`],
    ['-netdev', `tap,id=lab,ifname=${tap},script=no,downscript=no,vhost=off`],
    ['-device', `virtio-net-pci,netdev=lab,mac=${mac}`],
    ['-device', 'virtio-rng-pci'],
    ['-chardev', `file,id=console,append=on,path=${quoteComma(join(work, 'console.log'))}`],
    ['-serial', 'chardev:console'],
    ['-device', 'virtio-serial-pci,id=ports'],
    ['-chardev', `socket,id=root,server=on,wait=off,path=${quoteComma(join(work, SOCKETS.root))}`],
    ['-qmp', `unix:${quoteComma(join(work, SOCKETS.qmp))},server=on,wait=off`],
    ...(hardware.firmware === 'uefi' ? uefi(work) : []),
  ];
  return [
    '-nodefaults',
    '-no-user-config',
    ...cpuArgs(hardware.accelerator),
    ...pairs.flat(),
    ...agentArgs(),
    ...hardware.extraArgs,
  ];
}

/**
 * The machine's own copy of the firmware variables, as qcow2: a raw one couldn't hold a saved moment.
 * @throws BuildError when OVMF isn't installed.
 */
export async function writeFirmwareVariables(work: string): Promise<void> {
  const raw = join(work, 'vars.fd');
  copyFileSync(installedFirmware().vars, raw);
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, join(work, 'vars.qcow2')], { step: 'vm' });
}

function uefi(work: string): [string, string][] {
  return [
    ['-drive', `if=pflash,format=raw,readonly=on,file=${installedFirmware().code}`],
    ['-drive', `if=pflash,format=qcow2,file=${quoteComma(join(work, 'vars.qcow2'))}`],
  ];
}

function installedFirmware() {
  const found = FIRMWARE.find(({ code, vars }) => existsSync(code) && existsSync(vars));
  if (!found) throw new BuildError('vm', 'OVMF is not installed', 'npm run setup', { exitCode: EXIT.prerequisite });
  return found;
}

/** QEMU's options end at a comma; a doubled one stands for itself. */
function quoteComma(path: string): string {
  return path.replaceAll(',', ',,');
}

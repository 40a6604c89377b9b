import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Accelerator, cpuArgs } from '../../doctor/accelerator.ts';
import { BuildError, EXIT } from '../../process/errors.ts';
import { run } from '../../process/run.ts';
import { agentArgs } from './root-agent.ts';

/** What every machine of this project has, whatever network it is on. */
export interface Machine {
  accelerator: Accelerator;
  memoryMiB: number;
  firmware: 'bios' | 'uefi';
  overlay: string;
  seed: string;
  mac: string;
  /** Folder for sockets, firmware variables and the console. */
  work: string;
  /** The machine's own serial number, which clouds use as instance ID. */
  uuid: string;
}

/** A machine of the lab. */
export interface Hardware extends Machine {
  tap: string;
  extraArgs: readonly string[];
}

/** OpenClaw wants 2 GiB. */
export const MEMORY_MIB = 2048;

/** Where Debian 12 and 13 and Ubuntu 24.04 put OVMF's code and empty variables. */
const FIRMWARE = ['_4M', ''].map((size) => ({
  code: `/usr/share/OVMF/OVMF_CODE${size}.fd`,
  vars: `/usr/share/OVMF/OVMF_VARS${size}.fd`,
}));

export const SOCKETS = { qmp: 'qmp.sock', root: 'root.sock' } as const;

/** Name of the serial console's file in the machine's folder. */
export const CONSOLE_FILE = 'console.log';

/**
 * QEMU's command line for a machine on the network that `netdev` describes (qemu(1), -netdev, without its id).
 * The network's id is `net`.
 */
export function machineArgs(machine: Machine, netdev: string): string[] {
  const { work, memoryMiB, overlay, seed, mac } = machine;
  const [kind = '', ...options] = netdev.split(',');
  const pairs: [string, string][] = [
    ['-machine', 'q35'],
    ['-smp', '2'],
    ['-m', String(memoryMiB)],
    ['-uuid', machine.uuid],
    // Debian's GRUB hangs under SeaBIOS when there is no display adapter at all.
    ['-vga', 'std'],
    ['-display', 'none'],
    ['-drive', `if=virtio,format=qcow2,discard=unmap,file=${quoteComma(overlay)}`],
    ['-drive', `if=virtio,format=raw,readonly=on,file=${quoteComma(seed)}`],
    ['-netdev', [kind, 'id=net', ...options].join(',')],
    ['-device', `virtio-net-pci,netdev=net,mac=${mac}`],
    ['-device', 'virtio-rng-pci'],
    ['-chardev', `file,id=console,append=on,path=${quoteComma(join(work, CONSOLE_FILE))}`],
    ['-serial', 'chardev:console'],
    ['-qmp', `unix:${quoteComma(join(work, SOCKETS.qmp))},server=on,wait=off`],
    ...(machine.firmware === 'uefi' ? uefi(work) : []),
  ];
  return ['-nodefaults', '-no-user-config', ...cpuArgs(machine.accelerator), ...pairs.flat()];
}

/** QEMU's command line for one machine of the lab: on a tap, with a port for the root channel. */
export function qemuArgs(hardware: Hardware): string[] {
  return [
    ...machineArgs(hardware, `tap,ifname=${hardware.tap},script=no,downscript=no,vhost=off`),
    ...['-device', 'virtio-serial-pci,id=ports'],
    ...['-chardev', `socket,id=root,server=on,wait=off,path=${quoteComma(join(hardware.work, SOCKETS.root))}`],
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

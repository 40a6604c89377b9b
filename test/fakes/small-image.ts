import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/process/run.ts';
import { BLOCK_BYTES, digestDisk } from '../../src/seal/digest.ts';
import { proveAll } from './proof.ts';

export const SMALL_BYTES = 64 * 1024 * 1024;

/**
 * A boot sector that sends what lies behind it on the disk, up to the first zero, to the serial port, and halts: so that
 * what a machine says on its console comes from the bytes that were brought to it. Assembled by GNU as from
 *
 *     cli; xor %ax,%ax; mov %ax,%ds; mov %ax,%es; mov %ax,%ss; mov $0x7c00,%sp; sti
 *     mov %dl,drive
 *     next:  mov drive,%dl; mov $dap,%si; mov $0x42,%ah; int $0x13     # read one sector to 0x8000
 *            jc halt; mov $0x8000,%si; mov $512,%cx
 *     byte:  lodsb; test %al,%al; jz halt; mov %al,%bl
 *     ready: mov $0x3fd,%dx; in %dx,%al; test $0x20,%al; jz ready      # until the UART takes a byte
 *            mov %bl,%al; mov $0x3f8,%dx; out %al,%dx; loop byte
 *            incl dap+8; jmp next
 *     halt:  hlt; jmp halt
 *     drive: .byte 0
 *     dap:   .byte 16,0; .word 1; .word 0x8000,0; .quad 1
 */
const BOOT_SECTOR =
  'fa31c08ed88ec08ed0bc007cfb8816457c8a16457cbe467cb442cd137224be0080b90002ac84c0741988c3bafd03eca82074f888d8baf803eee2e966ff064e7cebcff4ebfd0010000100008000000100000000000000';

/** Blocks with something in them besides the first: next to each other, alone, at the end. */
const FILLED = [1, 2, 3, 17, 40, 41, 64, 90, 127];

export interface SmallOptions {
  /** Our image ID; the console on the disk names it. */
  id: string;
  created: string;
  /** What the machine says when it boots, with IMAGE where the ID is. */
  console: string;
  /** Blocks that differ between two images of one seed. */
  changed?: number[];
  /** Blocks that are zeros here. */
  zeroed?: number[];
}

/**
 * A whole image folder with a disk of 64 MiB that boots: its boot sector says what lies behind it. With a green full report.
 * @param dir a new folder.
 */
export async function makeSmallImage(dir: string, options: SmallOptions): Promise<string> {
  mkdirSync(dir, { recursive: true });
  const raw = join(dir, 'disk.raw');
  writeDisk(raw, options);
  const digest = await digestDisk(raw, []);
  const qcow2 = join(dir, 'disk.qcow2');
  await run('qemu-img', ['convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, qcow2], { step: 'small image' });
  rmSync(raw);
  writeFileSync(
    join(dir, 'blocks.json'),
    JSON.stringify({ blockBytes: BLOCK_BYTES, size: digest.size, blocks: digest.blocks }),
  );
  const sha256 = '0'.repeat(64);
  const manifest = {
    ...{ schema: 1, id: options.id, created: options.created, inputHash: sha256, base: { id: 'debian-13', sha256 } },
    disk: { rawSha256: digest.raw, rawSize: digest.size, qcow2Size: 1 },
    ...{ layers: [], without: [], packages: [], runtime: { openclaw: '1', node: '1' }, accelerator: 'tcg' },
    ...{ prepared: sha256, steps: [], seconds: 1 },
  };
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest));
  proveAll(dir);
  return dir;
}

function writeDisk(raw: string, { id, console, changed = [], zeroed = [] }: SmallOptions): void {
  const file = openSync(raw, 'wx');
  try {
    ftruncateSync(file, SMALL_BYTES);
    const sector = Buffer.alloc(512);
    sector.write(BOOT_SECTOR, 'hex');
    sector.writeUInt16LE(0xaa55, 510);
    writeSync(file, sector, 0, 512, 0);
    const text = Buffer.from(console.replaceAll('IMAGE', id));
    writeSync(file, text, 0, text.length, 512);
    for (const index of FILLED.filter((one) => !zeroed.includes(one))) {
      const seed = changed.includes(index) ? `${index} of ${id}` : String(index);
      writeSync(file, noise(seed), 0, BLOCK_BYTES, index * BLOCK_BYTES);
    }
  } finally {
    closeSync(file);
  }
}

/** Bytes that no compression shortens, the same for each seed. */
function noise(seed: string): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < BLOCK_BYTES; at += 64) parts.push(createHash('sha512').update(`${seed} ${at}`).digest());
  return Buffer.concat(parts);
}

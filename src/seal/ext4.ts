import { BuildError } from '../process/errors.ts';
import { outputBytes } from '../process/run.ts';

/** One entry of a closed file system. */
export interface Entry {
  /** Absolute, `/` for the root. */
  path: string;
  type: 'file' | 'dir' | 'link' | 'other';
  /** Permission bits, four octal digits. */
  mode: string;
  uid: number;
  gid: number;
  /** Bytes; 0 for what isn't a regular file. */
  size: number;
}

const TYPES: Record<string, Entry['type']> = { '10': 'file', '04': 'dir', '12': 'link' };

/** A read-only view of one ext4 file system inside a raw disk. It needs no root, no mount and no VM: debugfs reads it. */
export class Ext4 {
  readonly #device: string;

  /** @param offset bytes from the start of the file. */
  constructor(file: string, offset: number) {
    this.#device = `${file}?offset=${offset}`;
  }

  /** Every entry below the root but lost+found, sorted by path. */
  async list(): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (let level = ['/']; level.length; ) {
      const below: string[] = [];
      const answers = await this.#commands(level.map((dir) => `ls -p ${quote(dir)}`));
      for (const [index, answer] of answers.entries()) {
        const dir = level[index] as string;
        for (const entry of parseListing(answer, dir)) {
          entries.push(entry);
          if (entry.type === 'dir') below.push(entry.path);
        }
      }
      level = below;
    }
    return entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** A file's content; an empty buffer when there is none. */
  async read(path: string): Promise<Buffer> {
    return this.#debugfs(['-R', `cat ${quote(path)}`]);
  }

  /** Runs many commands in one debugfs and splits its output by command. */
  async #commands(commands: string[]): Promise<string[]> {
    const output = await this.#debugfs(['-f', '-'], `${commands.join('\n')}\n`);
    // debugfs echoes each command of a script behind this prompt.
    const parts = output.toString().split(/^debugfs: .*\n/m);
    if (parts.length !== commands.length + 1)
      throw new BuildError('seal', 'debugfs answered out of step', 'check the e2fsprogs version');
    return parts.slice(1);
  }

  #debugfs(args: string[], input?: string): Promise<Buffer> {
    return outputBytes('debugfs', [...args, this.#device], {
      step: 'seal',
      hint: 'is e2fsprogs (debugfs) installed?',
      ...(input === undefined ? {} : { input }),
    });
  }
}

function quote(path: string): string {
  return `"${path.replaceAll('"', '""')}"`;
}

/** Lines of `ls -p`: /inode/mode/uid/gid/name/size/ */
function parseListing(text: string, dir: string): Entry[] {
  return text.split('\n').flatMap((line) => {
    const [, inode, mode, uid, gid, name, size] = line.split('/');
    if (!mode || !name || inode === '0' || name === '.' || name === '..' || name === 'lost+found') return [];
    return {
      path: dir === '/' ? `/${name}` : `${dir}/${name}`,
      type: TYPES[mode.slice(0, 2)] ?? 'other',
      mode: mode.slice(-4),
      uid: Number(uid),
      gid: Number(gid),
      size: TYPES[mode.slice(0, 2)] === 'file' ? Number(size) : 0,
    };
  });
}

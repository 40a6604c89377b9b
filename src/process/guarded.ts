import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { execa } from 'execa';
import { BuildError } from './errors.ts';
import { has, lastLines, missing } from './run.ts';

/** A process that can be told from a later one with the same number. */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks from the machine's boot to the process's start: proc(5), /proc/PID/stat, field 22. */
  start_ticks: number;
  /** Of the machine's boot: /proc/sys/kernel/random/boot_id. */
  boot_id: string;
}

export interface Guarded {
  identity: ProcessIdentity;
  alive: () => boolean;
  /** From here on the program runs on without us. */
  keep: () => Promise<void>;
  /** Ends the program and removes the folder; returns when both are done. */
  end: () => Promise<void>;
}

/**
 * Waits at its standard input in a session of its own: `keep` lets the program live on, anything else, the end of the
 * input above all, ends it. $1 its log, $2 a folder that goes with it (or nothing), then the program.
 */
const GUARD = `
log=$1 folder=$2
shift 2
"$@" </dev/null >>"$log" 2>&1 &
child=$!
echo "$child"
read -r word || word=
[ "$word" != keep ] || exit 0
kill -KILL "$child" 2>/dev/null
wait "$child" 2>/dev/null
[ -z "$folder" ] || rm -rf -- "$folder"
`;

/**
 * Starts a program that dies with this process, however that ends, until `keep`; after it the program survives us.
 *
 * @param log gets its output.
 * @param folder is removed when it is ended before `keep`.
 * @throws BuildError (prerequisite) when there is no such program.
 */
export async function startGuarded(
  file: string,
  args: readonly string[],
  { log, folder }: { log: string; folder?: string | undefined },
): Promise<Guarded> {
  if (!(await has(file))) throw missing('process', file);
  const guard = execa('sh', ['-c', GUARD, 'guard', log, folder ?? '', file, ...args], {
    // A session of its own: Ctrl-C at the terminal reaches us, and our end reaches the guard.
    detached: true,
    cleanup: false,
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'ignore',
    buffer: false,
    reject: false,
  });
  const [said] = await Promise.race([once(guard.stdout, 'data'), guard.then(() => [''])]);
  const identity = identify(Number(String(said).trim()));
  if (!identity) {
    // The log may go with the folder.
    const tail = existsSync(log) ? lastLines(readFileSync(log, 'utf8')) : '';
    guard.stdin.end();
    await guard;
    throw new BuildError('process', `${file} ended as soon as it was started`, 'repeat it by hand', { tail });
  }
  const finish = async (word: string): Promise<void> => {
    guard.stdin.on('error', () => {}); // ended before
    guard.stdin.end(word);
    await guard;
  };
  return {
    identity,
    alive: () => isAlive(identity),
    keep: () => finish('keep\n'),
    end: () => finish('end\n'),
  };
}

/** @returns undefined where no such process runs; one that ended and waits for its parent doesn't. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    // The name, in parentheses, may hold anything.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const boot_id = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return { pid, start_ticks: Number(fields[22 - 3]), boot_id };
  } catch {
    return undefined;
  }
}

/** Whether it is that very process that runs. */
export function isAlive({ pid, start_ticks, boot_id }: ProcessIdentity): boolean {
  const now = identify(pid);
  return now?.start_ticks === start_ticks && now.boot_id === boot_id;
}

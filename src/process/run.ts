import { appendFileSync, existsSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Readable, Transform } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { ExecaError, execa, execaSync, type Options } from 'execa';
import { BuildError, EXIT } from './errors.ts';

/** How much of a failed child's output is shown; the rest is in the log. */
const TAIL_LINES = 20;

export interface RunOptions {
  /** Which step this belongs to, for the error. */
  step: string;
  /** What a person should try when it fails. */
  hint?: string;
  /** Child output is appended here; without it the output is only kept for the error. */
  log?: string | undefined;
  cwd?: string;
  /** Added to the environment of this process. */
  env?: Record<string, string>;
  /** Written to the child's standard input, then closed. Secrets go here, never into args. */
  input?: string | Uint8Array;
  /** Milliseconds until the child is killed. */
  timeout?: number;
  /** Accept these exit codes as success; default [0]. */
  ok?: number[];
  signal?: AbortSignal | undefined;
  /** Picks what matters from a failed child's standard output, before it is cut to its last lines. */
  tail?: (stdout: string) => string;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  exitCode: number;
}

/** A word as a shell takes it literally. */
export function shellQuote(word: string): string {
  return /^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function commandLine(file: string, args: readonly string[]): string {
  return [file, ...args].map(shellQuote).join(' ');
}

/** The last line of what a machine's console said, as plain text of 120 characters at most. */
export function lastLine(text: string): string {
  const plain = stripVTControlCharacters(text).trimEnd();
  return (plain.split(/[\r\n]+/).at(-1) ?? '').slice(0, 120);
}

/** The end of a text, without terminal control codes. */
export function lastLines(text: string): string {
  return stripVTControlCharacters(text).trimEnd().split('\n').slice(-TAIL_LINES).join('\n');
}

/**
 * Runs one program to its end. All child processes of the project start here or in `start`.
 * @throws BuildError with the tail of the output and the command to repeat; (prerequisite) when there is no such program.
 */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const { log } = options;
  if (log) {
    mkdirSync(dirname(log), { recursive: true });
    appendFileSync(log, `$ ${commandLine(file, args)}\n`);
  }
  const sink = log ? [{ file: log, append: true as const }] : [];
  const result = await execa(file, args, {
    stdout: ['pipe', ...sink],
    stderr: ['pipe', ...sink],
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
    ...(options.env ? { env: options.env } : {}),
    ...(options.timeout ? { timeout: options.timeout } : {}),
    ...(options.signal ? { cancelSignal: options.signal } : {}),
    reject: false,
    maxBuffer: 64 * 1024 * 1024,
    forceKillAfterDelay: 5000,
  });
  const stdout = String(result.stdout ?? '');
  const stderr = String(result.stderr ?? '');
  const exitCode = result.exitCode ?? -1;
  if ((options.ok ?? [0]).includes(exitCode)) return { stdout, stderr, exitCode };
  if (isMissing(result, options)) throw missing(options.step, file);
  throw new BuildError(options.step, describe(file, result), options.hint ?? `repeat it: ${commandLine(file, args)}`, {
    log,
    tail: lastLines(options.tail ? options.tail(stdout) : stderr.trim() === '' ? stdout : stderr),
    cause: result,
  });
}

/** What every program that isn't there is answered with. */
export function missing(step: string, file: string): BuildError {
  return new BuildError(step, `${file} is not installed`, 'npm run setup', { exitCode: EXIT.prerequisite });
}

/** Without the working directory it is ENOENT too. */
function isMissing(result: unknown, { cwd }: RunOptions): boolean {
  return result instanceof ExecaError && result.code === 'ENOENT' && (cwd === undefined || existsSync(cwd));
}

function describe(
  file: string,
  result: { timedOut?: boolean; signal?: string; exitCode?: number; cause?: unknown },
): string {
  if (result.timedOut) return `${file} ran out of time`;
  if (result.signal) return `${file} was ended by ${result.signal}`;
  return `${file} exited with ${result.exitCode ?? 'an error'}`;
}

/** Runs a program at once, for what a process does while it ends; a failure has nobody left to be told. */
export function runNow(file: string, args: readonly string[]): string {
  return String(execaSync(file, args, { reject: false, stdin: 'ignore', timeout: 30_000 }).stdout ?? '');
}

/** Gives a program this terminal until it ends. */
export async function interactive(file: string, args: readonly string[]): Promise<void> {
  await execa(file, args, { stdio: 'inherit', reject: false });
}

/**
 * A program's standard output as bytes; `run` decodes and so would spoil a file's content.
 * @throws BuildError with what it said on standard error.
 */
export async function outputBytes(file: string, args: readonly string[], options: RunOptions): Promise<Buffer> {
  const result = await execa(file, args, {
    ...(options.input === undefined ? { stdin: 'ignore' } : { input: options.input }),
    encoding: 'buffer',
    reject: false,
    maxBuffer: 256 * 1024 * 1024,
  });
  if (result.exitCode === 0) return Buffer.from(result.stdout);
  if (isMissing(result, options)) throw missing(options.step, file);
  const tail = result.stderr ? lastLines(Buffer.from(result.stderr).toString()) : undefined;
  throw new BuildError(options.step, describe(file, result), options.hint ?? '', { tail, cause: result });
}

/**
 * Pumps a stream into a program's standard input, no faster than it reads: memory stays flat whatever comes.
 *
 * @param options.stallMs milliseconds after which it is killed when nothing was taken from the stream, or it doesn't end
 * after the stream has.
 * @throws BuildError with the end of its output; also when the stream itself fails.
 */
export async function feed(
  file: string,
  args: readonly string[],
  source: Readable,
  options: RunOptions & { stallMs: number },
): Promise<RunResult> {
  const stalled = new AbortController();
  const watch = () => setTimeout(() => stalled.abort(), options.stallMs);
  let timer = watch();
  const watched = new Transform({
    transform(chunk, _encoding, done) {
      clearTimeout(timer);
      timer = watch();
      done(null, chunk);
    },
  });
  source.on('error', (error) => watched.destroy(error));
  try {
    const result = await execa(file, args, {
      input: source.pipe(watched),
      cancelSignal: stalled.signal,
      reject: false,
      maxBuffer: 1024 * 1024,
      forceKillAfterDelay: 5000,
    });
    const { stdout, stderr } = { stdout: String(result.stdout ?? ''), stderr: String(result.stderr ?? '') };
    if (result.exitCode === 0 && !result.failed) return { stdout, stderr, exitCode: 0 };
    if (isMissing(result, options)) throw missing(options.step, file);
    const tail = lastLines(stderr.trim() === '' ? stdout : stderr);
    const what = stalled.signal.aborted
      ? `${file} took nothing for ${Math.round(options.stallMs / 1000)} s`
      : source.errored
        ? `the stream into ${file} failed: ${source.errored.message}`
        : describe(file, result);
    throw new BuildError(options.step, what, options.hint ?? 'try again', { tail });
  } finally {
    clearTimeout(timer);
    source.destroy();
  }
}

/** True when the program can be found in PATH. */
export async function has(program: string): Promise<boolean> {
  const result = await execa('sh', ['-c', 'command -v "$1"', 'sh', program], { reject: false, stdin: 'ignore' });
  return result.exitCode === 0;
}

/** A child that outlives the call; the caller ends it through `kill`. It dies with this process in any case. */
export function start(file: string, args: readonly string[], options: Options) {
  return execa('setpriv', ['--pdeathsig', 'KILL', file, ...args], { ...options, reject: false, cleanup: true });
}

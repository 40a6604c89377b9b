import { setTimeout as sleep } from 'node:timers/promises';
import { Decrypter } from 'age-encryption';
import { type Rotation, rotationSchema, sealedCodeSchema } from '../contract/ops.ts';
import { readSigned, type Signer } from '../ops/signed.ts';
import { newNonce } from '../ops/status.ts';
import { BuildError } from '../process/errors.ts';

/** What a rotation goes through: the instance, who keeps its code, and who uses it. */
export interface Parties {
  instance: Signer;
  /** Puts a request to the instance's `rotate-auth-code`. */
  ask: (args: Record<string, unknown>) => Promise<unknown>;
  /** The operator's age identity, to which codes are sealed. */
  identity: string;
  /** The code in the registry, which whoever speaks to the gate takes it from. */
  registered: () => Promise<string>;
  register: (code: string) => Promise<void>;
  /** Sends a request with a code through the gate, where this operator can. */
  use: (code: string) => Promise<unknown>;
  detail?: (text: string) => void;
}

export interface RotateOptions {
  /** Seconds that the old code counts on. */
  overlapSeconds: number;
  /** Milliseconds that a request with the new code is waited for, and between two looks. */
  seenMs?: number;
  pollMs?: number;
}

/** What came of it. */
export interface Rotated {
  rotation: string;
  /** Seconds until the old code is refused. */
  secondsLeft: number;
}

/** The longest that the box needs to end what an earlier rotation let in. */
const CLOSING_MS = 60_000;
const SEEN_MS = 2 * 60_000;
const POLL_MS = 2_000;

/**
 * Gives an instance another code, without a moment in which whoever takes it from the registry is refused: the new one is taken
 * beside the old before the registry has it, and the old one ends only after a request with the new has gone through. Whatever
 * interrupts it, the next call goes on where it was.
 *
 * @throws BuildError where the instance can't be reached or believed, or nobody uses the new code; both codes then count on.
 */
export async function rotate(parties: Parties, options: RotateOptions): Promise<Rotated> {
  const { register, use, detail } = parties;
  const { overlapSeconds, seenMs = SEEN_MS, pollMs = POLL_MS } = options;
  detail?.('looking');
  let now = await until(parties, CLOSING_MS, pollMs, ({ phase }) => phase !== 'closing');
  if (now.phase === 'none') {
    await heal(parties, now);
    detail?.('preparing');
    now = await step(parties, { step: 'prepare' });
  }
  const { rotation } = now;
  if (rotation === null || now.sealedCode === null) throw broken(parties, 'it names no rotation');
  const code = await openCode(parties, rotation, now.sealedCode);
  // From here on the box drops it no more by itself: the registry may have it.
  if (now.phase === 'prepared') now = await step(parties, { step: 'announce', rotation });
  await register(code);
  // Between the two another operator may have revoked: then what was registered is no code any more.
  now = await step(parties, { step: 'status' });
  if (now.current.rotation === rotation) return { rotation, secondsLeft: 0 };
  if (now.rotation !== rotation) await overtaken(parties, now);
  if (now.phase !== 'committed') {
    detail?.('waiting for a request with the new code');
    const seen = await until(
      parties,
      seenMs,
      pollMs,
      (at) => at.seen || at.rotation !== rotation,
      () => use(code),
    );
    if (seen.rotation !== rotation) await overtaken(parties, seen);
    if (!seen.seen)
      throw new BuildError(
        `rotate ${parties.instance.instance_id}`,
        `no request with the new code has gone through in ${Math.round(seenMs / 1000)} s; both codes count`,
        'the same command goes on, once your auth proxy has the new one',
      );
    now = await step(parties, { step: 'commit', rotation, overlapSeconds });
  }
  return { rotation, secondsLeft: now.secondsLeft ?? 0 };
}

/**
 * Gives an instance another code at once, for one that is known to others. Traffic is cut: until the registry has the new code,
 * nobody gets in; and what any earlier code let in is ended.
 */
export async function revoke(parties: Parties): Promise<Rotated> {
  const { current } = await step(parties, { step: 'revoke' });
  if (current.rotation === null || current.sealedCode === null) throw broken(parties, 'it names no code');
  await parties.register(await openCode(parties, current.rotation, current.sealedCode));
  return { rotation: current.rotation, secondsLeft: 0 };
}

/** How the codes stand; changes nothing. @throws BuildError */
export function rotationOf(parties: Pick<Parties, 'instance' | 'ask'>): Promise<Rotation> {
  return step(parties, { step: 'status' });
}

/**
 * A revocation whose answer was lost: the registry has a code that doesn't count any more. Where the code that counts was sealed to
 * another key of the operator's, or what is registered can't be read, there is nothing to compare: the rotation that follows registers
 * one that can.
 */
async function heal(parties: Parties, { current }: Rotation): Promise<void> {
  if (current.rotation === null || current.sealedCode === null) return;
  let code: string;
  try {
    code = await openCode(parties, current.rotation, current.sealedCode);
  } catch (error) {
    if (error instanceof BuildError) return;
    throw error;
  }
  const registered = await parties.registered().catch(() => undefined);
  if (code !== registered) await parties.register(code);
}

/** @throws always; what counts is registered again. */
async function overtaken(parties: Parties, now: Rotation): Promise<never> {
  await heal(parties, now);
  throw new BuildError(
    `rotate ${parties.instance.instance_id}`,
    'another operator has ended this rotation meanwhile; the code that counts now is registered',
    'look who it was; then the same command rotates anew',
  );
}

/** Asks until `done`, or the time is over. @returns the last answer. */
async function until(
  parties: Parties,
  limitMs: number,
  pollMs: number,
  done: (now: Rotation) => boolean,
  between: () => Promise<unknown> = async () => {},
): Promise<Rotation> {
  const end = Date.now() + limitMs;
  for (;;) {
    await between();
    const now = await step(parties, { step: 'status' });
    if (done(now) || Date.now() > end) return now;
    await sleep(pollMs);
  }
}

async function step(
  { instance, ask }: Pick<Parties, 'instance' | 'ask'>,
  args: Record<string, unknown>,
): Promise<Rotation> {
  const nonce = newNonce();
  return readSigned(await ask({ ...args, nonce }), rotationSchema, { ...instance, purpose: 'rotation', nonce });
}

/** @throws BuildError where it isn't this rotation's of this instance, or sealed to another; nothing of it is repeated. */
export async function openCode(
  parties: Pick<Parties, 'identity' | 'instance'>,
  rotation: string,
  sealed: string,
): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(parties.identity);
  let text: string;
  try {
    text = await decrypter.decrypt(Buffer.from(sealed, 'base64'), 'text');
  } catch {
    throw broken(parties, "the new code isn't sealed to your key");
  }
  const opened = sealedCodeSchema.safeParse(JSON.parse(text));
  if (!opened.success) throw broken(parties, 'the sealed code has another form');
  const { code, instanceId } = opened.data;
  if (opened.data.rotation !== rotation || instanceId !== parties.instance.instance_id)
    throw broken(parties, 'the sealed code is of another rotation');
  return code;
}

function broken({ instance: { instance_id: id } }: Pick<Parties, 'instance'>, why: string): BuildError {
  return new BuildError(`rotate ${id}`, why, 'look at the instance before you trust it');
}

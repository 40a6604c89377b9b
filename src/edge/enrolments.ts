import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pRetry from 'p-retry';
import { z } from 'zod';
import { sealToken } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import {
  ENROL_PATH,
  ENROLMENTS_PATH,
  type Enrolment,
  type Expectation,
  LONGEST_EXPECTATION,
  toldEnrolmentSchema,
} from '../contract/edge-enrolment.ts';
import { type Bundle, LAUNCH_ID } from '../contract/enrolment.ts';
import { type Expected, openBundle } from '../launch/open-bundle.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { requirePrivate } from '../process/private-file.ts';
import { askProxy } from './proxy.ts';
import type { OperatorEdge } from './secrets.ts';

/** Seconds between two looks whether a bundle is there: a box brings it within seconds of its first boot, which takes minutes. */
const LOOK_S = 5;

const launchSchema = z.looseObject({
  launchId: z.string().regex(LAUNCH_ID),
  token: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  enrolmentUrl: z.string(),
  users: z.array(z.string()).default([]),
});
/** What of a launch.json matters here. */
export type Launch = Pick<z.output<typeof launchSchema>, 'launchId' | 'token'>;
export type LaunchFile = Launch & Pick<z.output<typeof launchSchema>, 'users'>;

/**
 * @param file a launch.json whose instance enrols at this proxy.
 * @throws BuildError (input) where it is none, or others may read it: its token makes bundles that are believed.
 */
export function readLaunch(file: string, proxy: string): LaunchFile {
  const wanted = new URL(ENROL_PATH, proxy).href;
  const fix = `it needs launchId, a token of 43 characters, and "enrolmentUrl": "${wanted}"`;
  let document: unknown;
  try {
    requirePrivate('edge', file);
    document = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof BuildError) throw error;
    throw inputError('edge', `${file}: ${error instanceof SyntaxError ? "isn't JSON" : "can't be read"}`, fix);
  }
  const parsed = launchSchema.safeParse(document);
  if (!parsed.success) {
    const members = parsed.error.issues.map(({ path }) => path.join('.')).join(', ');
    throw inputError('edge', `${file}: ${members || 'the whole'} isn't as it should be`, fix);
  }
  const { launchId, token, enrolmentUrl, users } = parsed.data;
  if (enrolmentUrl !== wanted) throw inputError('edge', `${file}: its instance enrols at ${enrolmentUrl}`, fix);
  return { launchId, token, users };
}

/**
 * Tells a proxy that a launch's box will come, before it is started. The token leaves this machine sealed.
 * @param expires seconds since 1970.
 * @throws BuildError where the proxy doesn't take it.
 */
export async function expectLaunch(
  proxy: string,
  { launchId, token }: Launch,
  expires: number,
  mine: OperatorEdge,
  ask: typeof fetch = fetch,
): Promise<void> {
  const facts = { version: 1, launchId, expires } as const;
  const sealed = await sealToken(facts, token, mine.secrets.keks);
  await put(proxy, { ...facts, revision: 1, state: 'expected', token: sealed } satisfies Expectation, mine, ask);
}

/** What a launcher knows of the bundle that it waits for. */
export interface Awaited extends Expected {
  /** How long; 0 looks once. */
  waitSeconds: number;
  detail: (text: string) => void;
}

/** A bundle that is believed, and what ends its launch at the proxy. */
export interface Taken {
  bundle: Bundle;
  /** Called once the bundle is kept: the proxy has it no more then, nor the token. May be called twice. */
  close: () => Promise<void>;
}

/**
 * Waits until a launch's box has brought its bundle, opens and checks it.
 * @throws BuildError where none comes, where it isn't to be believed, or where the proxy isn't reached; nothing is ended then.
 */
export async function takeBundle(
  proxy: string,
  { waitSeconds, detail, ...expected }: Awaited,
  mine: OperatorEdge,
  ask: typeof fetch = fetch,
): Promise<Taken> {
  const { launchId } = expected;
  const { bundle: text, expires } = await pRetry(() => look(proxy, launchId, mine, ask), {
    ...{ retries: Math.ceil(waitSeconds / LOOK_S), factor: 1, minTimeout: LOOK_S * 1000 },
    shouldRetry: ({ error }) => error instanceof NotYet,
    onFailedAttempt: ({ error }) => detail(error.message),
  });
  const sealed = Buffer.from(text, 'base64');
  const bundle = await openBundle(sealed, expected);
  const bundleSha256 = createHash('sha256').update(sealed).digest('hex');
  const close = () =>
    put(proxy, { version: 1, launchId, expires, revision: 3, state: 'closed', bundleSha256 }, mine, ask);
  return { bundle, close };
}

/** Ends a launch whose box isn't to come any more. @throws BuildError where the proxy doesn't take it. */
export function withdrawLaunch(proxy: string, { launchId }: Launch, mine: OperatorEdge, ask: typeof fetch = fetch) {
  // As long as a record may live: nobody can expect that launch again.
  const expires = Math.floor(Date.now() / 1000) + LONGEST_EXPECTATION - 60;
  return put(proxy, { version: 1, launchId, expires, revision: 3, state: 'closed', bundleSha256: null }, mine, ask);
}

class NotYet extends BuildError {}

async function look(proxy: string, launchId: string, mine: OperatorEdge, ask: typeof fetch) {
  const answer = await askProxy(proxy, `${ENROLMENTS_PATH}${launchId}`, undefined, mine, ask);
  if ('said' in answer) throw refused(launchId, answer.said);
  const told = toldEnrolmentSchema.safeParse(answer.body);
  if (!told.success) throw refused(launchId, 'it answers otherwise');
  const { state, bundle, expires } = told.data;
  if (state === 'closed') throw refused(launchId, 'its bundle was taken before');
  if (!bundle)
    throw new NotYet('edge', `the box of ${launchId} has brought nothing yet`, 'look at its console; --wait waits');
  return { bundle, expires };
}

async function put(proxy: string, enrolment: Enrolment, mine: OperatorEdge, ask: typeof fetch): Promise<void> {
  const { launchId } = enrolment;
  const answer = await askProxy(proxy, `${ENROLMENTS_PATH}${launchId}`, enrolment, mine, ask);
  if (!('said' in answer)) return;
  // Nothing comes after `closed`: as new a one is another that says so.
  if (enrolment.state === 'closed' && answer.status === 409) return;
  const before = enrolment.state === 'expected' && answer.status === 409;
  throw refused(launchId, before ? 'it was expected before, under another token or for another time' : answer.said);
}

function refused(launchId: string, said: string): BuildError {
  return new BuildError('edge', `the auth proxy on launch ${launchId}: ${said}`, 'docs/edge.md, "Enrolment"');
}

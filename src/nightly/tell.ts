import pRetry, { AbortError } from 'p-retry';
import { BuildError, inputError } from '../process/errors.ts';
import type { NightRecord } from './night.ts';

/** Milliseconds for one try. */
const ANSWER_MS = 15_000;

/**
 * Where nights are told: a URL that is a secret by itself, so it comes from the environment.
 * @throws BuildError (input) for one that isn't https, but to this machine.
 */
export function webhookOf(env: NodeJS.ProcessEnv = process.env): URL | undefined {
  const text = env.CLAWDY_NIGHTLY_WEBHOOK;
  if (!text) return undefined;
  const url = URL.parse(text);
  if (url && (url.protocol === 'https:' || ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname))) return url;
  throw inputError('nightly', "CLAWDY_NIGHTLY_WEBHOOK isn't an https URL", 'correct or unset it');
}

/**
 * Tells a night, as JSON with a member `text` for what chat programs show.
 * @throws BuildError where nobody took it; its words don't have the URL.
 */
export async function tellNight(url: URL, night: NightRecord, ask: typeof fetch = fetch): Promise<void> {
  const { id, verdict, said, started, ended } = night;
  const body = JSON.stringify({ text: `clawdy nightly ${id}: ${said}`, night: id, verdict, said, started, ended });
  const post = async () => {
    const answer = await ask(url, {
      ...{ method: 'POST', body, redirect: 'error', signal: AbortSignal.timeout(ANSWER_MS) },
      headers: { 'content-type': 'application/json' },
    });
    await answer.body?.cancel();
    if (answer.ok) return;
    const failed = new Error(`it answered ${answer.status}`);
    throw answer.status < 500 && answer.status !== 429 ? new AbortError(failed) : failed;
  };
  try {
    await pRetry(post, { retries: 3, minTimeout: 1000 });
  } catch (error) {
    const why = error instanceof Error && /^it answered/.test(error.message) ? error.message : "it can't be reached";
    throw new BuildError('nightly', `the webhook wasn't told: ${why}`, 'the night itself is as its line says');
  }
}

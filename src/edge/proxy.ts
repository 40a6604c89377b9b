import type { OperatorEdge } from './secrets.ts';

/** Milliseconds. */
const ANSWER_MS = 30_000;

/** What an auth proxy said to an operator: its answer, or in `said` why there is none worth having. */
export type ProxyAnswer = { status: number; body: unknown } | { status: number | null; said: string };

/**
 * Asks an auth proxy as its operator.
 * @param path on its auth host.
 * @param body sent as JSON by PUT; undefined asks by GET.
 * @returns never throws; `body` is set for 2xx alone.
 */
export async function askProxy(
  proxy: string,
  path: string,
  body: unknown,
  { token }: Pick<OperatorEdge, 'token'>,
  ask: typeof fetch = fetch,
): Promise<ProxyAnswer> {
  const content = body === undefined ? { method: 'GET' } : { method: 'PUT', body: JSON.stringify(body) };
  try {
    const answer = await ask(new URL(path, proxy), {
      ...{ ...content, signal: AbortSignal.timeout(ANSWER_MS), redirect: 'error' },
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    });
    if (answer.ok) return { status: answer.status, body: await answer.json() };
    return { status: answer.status, said: `${answer.status} ${(await answer.text()).slice(0, 100)}` };
  } catch (error) {
    if (!(error instanceof Error)) return { status: null, said: String(error) };
    const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
    return { status: null, said: `${error.message}${cause}` };
  }
}

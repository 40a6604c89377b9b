import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { sealCode } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { compareEdge, type EdgeBench, type Latency } from '../../src/bench/pace.ts';
import { edgeConfigSchema } from '../../src/contract/edge.ts';
import { BuildError } from '../../src/process/errors.ts';
import type { Progress } from '../../src/process/progress.ts';
import { freePort, makeCertificates, startProxy } from '../edge/proxy.ts';
import { until } from '../edge/scene.ts';
import { startIssuer } from '../fakes/issuer.ts';

/** One at a time: what is asked is how long a person waits more, not how much a machine bears. */
const CONNECTIONS = 1;

/**
 * The auth proxy as a Worker beside a Worker that only passes on, in one process of Cloudflare's runtime, in front of one origin that
 * answers at once, by turns. The session is Access'.
 * @throws BuildError when a request fails: such a figure would mean nothing.
 */
export async function runEdgeBench(
  { rounds, seconds }: { rounds: number; seconds: number },
  progress: Progress,
): Promise<EdgeBench> {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-bench-'));
  const closing: (() => unknown)[] = [() => rmSync(work, { recursive: true, force: true })];
  try {
    makeCertificates(work);
    const read = (name: string) => readFileSync(join(work, name), 'utf8');
    const origin = createServer({ key: read('gate.key'), cert: read('gate.crt') }, (_asked, answer) =>
      answer.end('ok'),
    );
    origin.listen(0, '127.0.0.1');
    await once(origin, 'listening');
    closing.push(
      () => origin.close(),
      () => origin.closeAllConnections(),
    );
    const at = `localhost:${(origin.address() as AddressInfo).port}`;
    const issuer = await startIssuer();
    closing.push(issuer.close);
    const [port, bare] = [await freePort(), await freePort()];
    const config = edgeConfigSchema.parse({
      ...{ version: 1, uiDomain: 'ui.test', appsDomain: 'apps.test', port },
      session: { kind: 'access', issuer: issuer.url, audiences: [issuer.audience] },
    });
    const [token, key, session] = [1, 2, 3].map(() => randomBytes(32).toString('base64url')) as [
      string,
      string,
      string,
    ];
    const admin = createHash('sha256').update(token).digest('base64url');
    closing.push(
      await startProxy('worker', work, config, { session, codes: { k: key }, admin }, () => {}, {
        port: bare,
        origin: at,
      }),
    );
    const entry = {
      ...{ version: 1, slug: 'alice', revision: 1, origin: at, certificate: null, owner: 'owner@example.com' },
      sealed: await sealCode('alice', 'A'.repeat(43), 'k', { k: key }),
    };
    const ask = (to: number, options: Partial<autocannon.Options>) =>
      autocannon({
        url: `https://127.0.0.1:${to}/`,
        connections: CONNECTIONS,
        tlsOptions: { ca: read('site.crt') },
        servername: 'ui.test',
        ...options,
      });
    await until(async () => {
      const headers = {
        host: `auth.ui.test:${port}`,
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
      };
      const put = await ask(port, {
        url: `https://127.0.0.1:${port}/.clawdy/registry/alice`,
        method: 'PUT',
        headers,
        body: JSON.stringify(entry),
        amount: 1,
      });
      return put.non2xx === 0 && put.requests.total === 1;
    });
    const headers = {
      host: `alice.ui.test:${port}`,
      'cf-access-jwt-assertion': await issuer.access({ exp: Math.floor(Date.now() / 1000) + 7200 }),
    };
    const sides = { proxy: { to: port, headers }, bare: { to: bare, headers: {} } };
    const measured: Record<keyof typeof sides, Latency[]> = { proxy: [], bare: [] };
    for (let round = 1; round <= rounds; round++) {
      const order = round % 2 ? (['proxy', 'bare'] as const) : (['bare', 'proxy'] as const);
      for (const side of order)
        await progress.step(`round ${round} of ${rounds}: ${side}`, async () => {
          const { to, headers } = sides[side];
          await ask(to, { headers, duration: 1 });
          const { latency, requests, errors, timeouts, non2xx } = await ask(to, { headers, duration: seconds });
          if (errors + timeouts + non2xx > 0 || requests.total === 0)
            throw new BuildError(
              'bench edge',
              `${side}: ${requests.total} answers, ${non2xx} refusals, ${errors + timeouts} errors`,
              'try again',
            );
          // Autocannon counts whole milliseconds; the mean of one connection's is finer.
          measured[side].push({ mean_ms: (seconds * 1000) / requests.total, p99_ms: latency.p99 });
        });
    }
    return compareEdge(measured.proxy, measured.bare);
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

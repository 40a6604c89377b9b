import autocannon from 'autocannon';
import { compareEdge, type EdgeBench, type Latency } from '../../src/bench/pace.ts';
import { BuildError } from '../../src/process/errors.ts';
import type { Progress } from '../../src/process/progress.ts';
import { startWorkerd } from '../edge/runtimes.ts';
import { signedIn } from '../edge/sign-in.ts';
import { freePort, type Mode, makeWorld, UI_DOMAIN } from '../edge/world.ts';

/** One at a time: what is asked is how long a person waits more, not how much a machine bears. */
const CONNECTIONS = 1;
/** The registry is a Durable Object, the session a sealed cookie; what it does most for. */
const MODE: Mode = 'oidc';

/**
 * The auth proxy as a Worker beside a Worker that only passes on, in one process of Cloudflare's runtime, in front of one gate that answers
 * at once, by turns.
 * @throws BuildError when a request fails: such a figure would mean nothing.
 */
export async function runEdgeBench(
  { rounds, seconds }: { rounds: number; seconds: number },
  progress: Progress,
): Promise<EdgeBench> {
  const world = await makeWorld();
  const bare = await freePort();
  const started = await startWorkerd(world, bare);
  try {
    const { slug, code } = await world.instance(MODE);
    const host = `${slug}.${UI_DOMAIN}:${world.ports[MODE]}`;
    const session = await signedIn(world, MODE, `${slug}.${UI_DOMAIN}`);
    const sides = {
      proxy: { port: world.ports[MODE], headers: { host, ...session } },
      bare: { port: bare, headers: { host, 'x-clawdy-code': code, 'x-clawdy-user': 'owner@example.com' } },
    };
    const ask = ({ port, headers }: (typeof sides)[keyof typeof sides], duration: number) =>
      autocannon({
        ...{ url: `https://127.0.0.1:${port}/page`, headers, duration, connections: CONNECTIONS },
        ...{ servername: `${slug}.${UI_DOMAIN}`, tlsOptions: { ca: world.tls.edge.certificate } },
      });
    const measured: Record<keyof typeof sides, Latency[]> = { proxy: [], bare: [] };
    for (let round = 1; round <= rounds; round++) {
      // Whoever goes first finds a machine that has just rested: by turns.
      const order = round % 2 ? (['proxy', 'bare'] as const) : (['bare', 'proxy'] as const);
      for (const side of order)
        await progress.step(`round ${round} of ${rounds}: ${side}`, async () => {
          await ask(sides[side], 1);
          const { latency, requests, errors, timeouts, non2xx } = await ask(sides[side], seconds);
          if (errors + timeouts + non2xx > 0 || requests.total === 0)
            throw new BuildError(
              'bench edge',
              `${side}: ${requests.total} answers, ${non2xx} refusals, ${errors + timeouts} errors`,
              'try again',
            );
          // Autocannon counts whole milliseconds; what one connection gets done in the time is finer.
          measured[side].push({ mean_ms: (seconds * 1000) / requests.total, p99_ms: latency.p99 });
        });
    }
    return compareEdge(measured.proxy, measured.bare);
  } finally {
    await started.close();
    await world.close();
  }
}

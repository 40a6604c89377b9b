import { EBSClient } from '@aws-sdk/client-ebs';
import { EC2Client } from '@aws-sdk/client-ec2';
import { SSMClient } from '@aws-sdk/client-ssm';
import { BuildError, inputError } from '../../process/errors.ts';
import { retry } from '../retry.ts';
import { explain, FOREIGN, judge } from './errors.ts';
import type { Times } from './times.ts';

/** Blocks on their way at once. AWS takes 1,000 a second; 32 hide the latency of any line that one machine has. */
export const WORKERS = 32;

export interface AskOptions {
  /** What is asked about was made a moment ago: "not found" is tried again for as long as AWS may take to know it. */
  fresh?: boolean;
  /** Ends it: nothing is tried again afterwards. */
  signal?: AbortSignal;
  detail?: (text: string) => void;
}

/** Clients of one session and how they are asked. */
export interface Session {
  readonly regions: readonly [string, ...string[]];
  readonly times: Times;
  ec2(region: string): EC2Client;
  ebs(region: string): EBSClient;
  ssm(region: string): SSMClient;
  /** Makes a call until it succeeds or fails for good. @throws BuildError */
  ask<T>(what: string, call: () => Promise<T>, options?: AskOptions): Promise<T>;
  /**
   * Asks again and again until there is an answer.
   * @param limit milliseconds. @throws BuildError when there was none until then.
   */
  until<T>(what: string, limit: number, look: () => Promise<T | undefined>): Promise<T>;
  close(): void;
}

/**
 * Region and credentials come from where the AWS SDK itself looks (environment, profile, SSO, OIDC, machine role), endpoints
 * too (AWS_ENDPOINT_URL*); nothing here adds to that.
 *
 * @param regions as asked for; empty: the SDK's own.
 * @throws BuildError (input) without a region or credentials.
 */
export async function openSession(regions: string[], times: Times): Promise<Session> {
  const first = regions[0] ?? (await defaultRegion());
  const all: [string, ...string[]] = [first, ...regions.slice(1)];
  for (const region of all)
    if (!/^[a-z]{2}(-[a-z]+)+-\d+$/.test(region))
      throw inputError('aws', `${JSON.stringify(region)} is no region of AWS`, 'give one such as eu-central-1');

  const agent = { keepAlive: true, maxSockets: 2 * WORKERS };
  const common = (silence: number) => ({
    // Its own retries know neither fresh snapshots nor ConcurrentLimitExceeded, and give up after three; src/clouds/retry.ts does it.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: times.connect,
      requestTimeout: times.request,
      throwOnRequestTimeout: true,
      socketTimeout: silence,
      httpAgent: agent,
      httpsAgent: agent,
    },
  });
  const opener = new EC2Client({ ...common(times.thinking), region: first });
  try {
    await opener.config.credentials();
  } catch (error) {
    opener.destroy();
    throw explain(error, 'looking for credentials');
  }
  // Found once and refreshed in one place, whatever the number of clients.
  const config = (silence: number) => ({ ...common(silence), credentials: opener.config.credentials });
  const ec2 = perRegion((region) => sceptical(new EC2Client({ ...config(times.thinking), region })));
  const ebs = perRegion((region) => sceptical(new EBSClient({ ...config(times.silence), region })));
  const ssm = perRegion((region) => sceptical(new SSMClient({ ...config(times.thinking), region })));

  return {
    regions: all,
    times,
    ec2: ec2.of,
    ebs: ebs.of,
    ssm: ssm.of,
    ask: (what, call, { fresh = false, signal, detail } = {}) => {
      const freshUntil = fresh ? performance.now() + times.fresh : 0;
      const unlessEnded = async () => {
        signal?.throwIfAborted();
        return call();
      };
      return retry(unlessEnded, {
        what,
        judge: (error) => (signal?.aborted ? { again: false } : judge(error, performance.now() < freshUntil)),
        explain,
        limitMs: times.retry,
        // The time limit ends it, not a count: at 50 % throttling 12 tries would fail one block in 4,000.
        attempts: 100,
        minPauseMs: times.minPause,
        maxPauseMs: times.maxPause,
        ...(detail ? { detail } : {}),
      });
    },
    until: async (what, limit, look) => {
      const end = performance.now() + limit;
      for (let pause = times.poll; ; pause = Math.min(pause * 1.5, times.maxPoll)) {
        const answer = await look();
        if (answer !== undefined) return answer;
        if (performance.now() > end)
          throw new BuildError(
            'aws',
            `${what}: not done after ${Math.round(limit / 1000)} s`,
            'look at it in the AWS console, then run the same command again',
          );
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    },
    close: () => {
      opener.destroy();
      for (const clients of [ec2, ebs, ssm]) clients.close();
    },
  };
}

interface Doubted {
  middlewareStack: { add(middleware: never, options: { step: 'initialize'; name: string }): void };
}

/**
 * Refuses answers that AWS didn't give. The SDK reads the HTML of a captive portal under status 200 as an empty answer of
 * EC2, and "nothing there" would then be believed; every answer of AWS has a request ID.
 */
function sceptical<C extends Doubted>(client: C): C {
  type Next = (args: unknown) => Promise<{ response?: { headers?: Record<string, string> } }>;
  const doubt = (next: Next) => async (args: unknown) => {
    const result = await next(args);
    const { headers = {} } = result.response ?? {};
    if (headers['x-amzn-requestid'] ?? headers['x-amz-request-id']) return result;
    throw Object.assign(new Error('no request ID'), { name: FOREIGN });
  };
  client.middlewareStack.add(doubt as never, { step: 'initialize', name: 'clawdy-sceptical' });
  return client;
}

async function defaultRegion(): Promise<string> {
  const client = new EC2Client({});
  try {
    return await client.config.region();
  } catch {
    throw inputError(
      'aws',
      'no region is configured',
      'name one with --region, or set AWS_REGION or `region` in ~/.aws/config',
    );
  } finally {
    client.destroy();
  }
}

function perRegion<C extends { destroy(): void }>(open: (region: string) => C) {
  const clients = new Map<string, C>();
  return {
    of: (region: string): C => {
      const known = clients.get(region) ?? open(region);
      clients.set(region, known);
      return known;
    },
    close: () => {
      for (const client of clients.values()) client.destroy();
      clients.clear();
    },
  };
}

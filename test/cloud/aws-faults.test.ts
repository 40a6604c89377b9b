/** What goes wrong between us and AWS: each ends well, or in an error that a person can act on; no secret in any of it. */
import { setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import test from 'ava';
import { explain } from '../../src/clouds/aws/errors.ts';
import { TIMES } from '../../src/clouds/aws/times.ts';
import { BuildError, EXIT, renderError } from '../../src/process/errors.ts';
import type { FakeAws } from '../fakes/aws/index.ts';
import type { Fault } from '../fakes/fake.ts';
import { disk, fakeAws, folder, jobOf, openCloud, output, publish, REGION, type TestJob } from './aws-fixture.ts';

const USER_DATA = 'user-data-with-a-one-time-token';

/** A generator of numbers from 0 to 1 that gives the same ones each time (mulberry32). */
function dice(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Throttling as the called API says it. */
function throttled(name: string): Fault {
  const code =
    /Snapshot(Block)?$/.test(name) && name !== 'DeleteSnapshot' ? 'RequestThrottledException' : 'RequestLimitExceeded';
  return { kind: 'error', status: code === 'RequestLimitExceeded' ? 503 : 400, code, message: 'Rate exceeded' };
}

function secretsOf({ credentials }: FakeAws): string[] {
  return [
    credentials.secretAccessKey,
    credentials.sessionToken,
    USER_DATA,
    Buffer.from(USER_DATA).toString('base64'),
    'AWS4-HMAC',
  ];
}

/** Everything that a person, a log or the journal could get to see of a run. */
function assertSilent(
  t: { false: (value: boolean, message?: string) => void },
  fake: FakeAws,
  job: TestJob,
  error?: unknown,
): void {
  const seen = [
    ...output,
    JSON.stringify(job.notes),
    job.told.join('\n'),
    error ? inspect(error, { depth: 9, showHidden: true }) : '',
    error ? renderError(error) : '',
  ].join('\n');
  for (const secret of secretsOf(fake)) t.false(seen.includes(secret), `${secret.slice(0, 12)}… was told`);
}

for (const percent of [10, 50]) {
  test.serial(`throttling of ${percent} % of all calls is borne`, async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t, { maxPause: 20 });
    const raw = await disk();
    const job = jobOf(raw);
    const roll = dice(percent);
    let refused = 0;
    fake.fault = (name) => {
      if (roll() * 100 >= percent) return undefined;
      refused++;
      return throttled(name);
    };
    const { imageId } = await publish(cloud, job);
    t.is(await fake.rawSha256(REGION, imageId, raw.size), raw.rawSha256);
    t.true(refused > 0);
    t.is(fake.live().length, 2);
    t.regex(job.told.join('\n'), /again, throttled/);
    assertSilent(t, fake, job);
  });
}

const passing: Record<string, Fault> = {
  'a 503 of EC2': { kind: 'error', status: 503, code: 'Unavailable', message: 'The server is overloaded' },
  'a 500': { kind: 'error', status: 500, code: 'InternalError', message: 'An internal error has occurred' },
  'an HTML 502 of a gateway': {
    kind: 'raw',
    status: 502,
    body: '<html><head><title>502 Bad Gateway</title></head><body><hr>nginx</body></html>',
  },
  'HTML under status 200': {
    kind: 'raw',
    status: 200,
    body: '<html><body><h1>Welcome to our Wi-Fi</h1><p>Log in<br></p></body></html>',
  },
  'well-formed HTML under status 200': { kind: 'raw', status: 200, body: '<html><body><p>Log in</p></body></html>' },
  'an empty 200': { kind: 'raw', status: 200, body: '' },
  'a 429': { kind: 'raw', status: 429, body: 'slow down', headers: { 'retry-after': '0' } },
  'a lost connection': { kind: 'reset' },
  'too many at once': { kind: 'error', status: 400, code: 'ConcurrentLimitExceededException', message: 'limit' },
};

for (const [what, fault] of Object.entries(passing)) {
  test.serial(`${what}, the first time that each call is made, is borne`, async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t);
    const raw = await disk();
    const job = jobOf(raw);
    const seen = new Set<string>();
    fake.fault = (name) => {
      if (seen.has(name)) return undefined;
      seen.add(name);
      return fault;
    };
    const registered = await publish(cloud, job);
    const probe = await cloud.boot(job, registered, { userData: USER_DATA, sshKey: '', work: folder() });
    t.regex(await probe.transcript(), /^instance i-/);
    await probe.remove();
    const [image] = await cloud.list(REGION);
    await cloud.setChannel(REGION, 'debian-13', 'latest', image);
    t.is(await fake.rawSha256(REGION, registered.imageId, raw.size), raw.rawSha256);
    t.deepEqual(
      fake.live().map(({ kind }) => kind),
      ['image', 'snapshot', 'parameter'],
    );
    t.true(seen.size >= 12, [...seen].join());
    assertSilent(t, fake, job);
  });
}

test.serial('AWS is not asked again sooner than it said', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t);
  const at: number[] = [];
  fake.fault = (name) => {
    if (name !== 'StartSnapshot' || at.push(performance.now()) > 1) return undefined;
    return { kind: 'raw', status: 503, body: 'slow down', headers: { 'retry-after': '1' } };
  };
  await cloud.upload(jobOf(await disk()));
  t.is(at.length, 2);
  t.true((at[1] as number) - (at[0] as number) >= 990, at.join());
});

test.serial('a PUT that stalls is noticed and sent again', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t, { silence: 400 });
  const raw = await disk();
  const job = jobOf(raw);
  let stalls = 0;
  fake.fault = (name) => (name === 'PutSnapshotBlock' && stalls++ < 3 ? { kind: 'stall' } : undefined);
  const startedAt = performance.now();
  const { imageId } = await publish(cloud, job);
  t.true(performance.now() - startedAt < 10_000);
  t.is(await fake.rawSha256(REGION, imageId, raw.size), raw.rawSha256);
  t.regex(job.told.join('\n'), /block \d+: again, no answer/);
  assertSilent(t, fake, job);
});

test.serial('EC2 and SSM may think for longer than EBS', async (t) => {
  t.deepEqual([TIMES.silence, TIMES.thinking], [15_000, 60_000]);
  const fake = await fakeAws(t);
  const cloud = await openCloud(t, { silence: 100, thinking: 5000 });
  fake.onCall = async (name) => {
    if (/^(RegisterImage|DescribeImages|PutParameter)$/.test(name)) await setTimeout(300);
  };
  await publish(cloud, jobOf(await disk()));
  const [image] = await cloud.list(REGION);
  await cloud.setChannel(REGION, 'debian-13', 'latest', image);
  for (const name of ['RegisterImage', 'PutParameter'])
    t.is(fake.calls.filter((call) => call === name).length, 1, name);
});

test.serial('an AWS that never answers is a clear error, not a process that hangs', async (t) => {
  const fake = await fakeAws(t);
  const cloud = await openCloud(t, { silence: 100, retry: 600 });
  const job = jobOf(await disk());
  fake.fault = (name) => (name === 'PutSnapshotBlock' ? { kind: 'stall' } : undefined);
  const error = await t.throwsAsync(cloud.upload(job), { instanceOf: BuildError, message: /block \d+: TimeoutError/ });
  t.regex(error.hint, /run the same command later/);
  assertSilent(t, fake, job, error);
});

test.serial('what was just made may be unknown for a minute', async (t) => {
  const fake = await fakeAws(t);
  // A minute at a hundredth of its length, and so our patience of two.
  const cloud = await openCloud(t, { fresh: 1200 });
  const raw = await disk();
  const job = jobOf(raw);
  const since = new Map<string, number>();
  const codes: Record<string, [code: string, status: number]> = {
    PutSnapshotBlock: ['ResourceNotFoundException', 404],
    CompleteSnapshot: ['ResourceNotFoundException', 404],
    DescribeSnapshots: ['InvalidSnapshot.NotFound', 400],
    RegisterImage: ['InvalidSnapshot.NotFound', 400],
    CreateTags: ['InvalidSnapshot.NotFound', 400],
    RunInstances: ['InvalidAMIID.NotFound', 400],
    GetConsoleOutput: ['InvalidInstanceID.NotFound', 400],
  };
  fake.fault = (name) => {
    const [code, status] = codes[name] ?? [];
    const first = since.get(name) ?? performance.now();
    since.set(name, first);
    if (!code || !status || performance.now() - first > 600) return undefined;
    return { kind: 'error', status, code, message: 'does not exist' };
  };
  const registered = await publish(cloud, job);
  const probe = await cloud.boot(job, registered, { userData: USER_DATA, sshKey: '', work: folder() });
  t.regex(await probe.transcript(), /^instance/);
  await probe.remove();
  t.is(await fake.rawSha256(REGION, registered.imageId, raw.size), raw.rawSha256);
  // For ever is too long: one that is really gone ends it.
  fake.fault = (name) =>
    name === 'PutSnapshotBlock'
      ? { kind: 'error', status: 404, code: 'ResourceNotFoundException', message: 'gone' }
      : undefined;
  const error = await t.throwsAsync(cloud.upload(jobOf(raw)), {
    instanceOf: BuildError,
    message: /ResourceNotFoundException/,
  });
  assertSilent(t, fake, job, error);
});

interface Final {
  prepare: (fake: FakeAws) => void;
  hint: RegExp;
  exitCode: number;
}

const final: Record<string, Final> = {
  'a missing permission of EC2': {
    prepare: ({ behaviour }) => behaviour.denied.add('ec2:RegisterImage'),
    hint: /aws-policy\.json/,
    exitCode: EXIT.prerequisite,
  },
  'a missing permission of EBS': {
    prepare: ({ behaviour }) => behaviour.denied.add('ebs:PutSnapshotBlock'),
    hint: /aws-policy\.json/,
    exitCode: EXIT.prerequisite,
  },
  'a session that ran out': {
    prepare: ({ behaviour }) => Object.assign(behaviour, { expired: true }),
    hint: /log in again/,
    exitCode: EXIT.prerequisite,
  },
  'a session that runs out in the middle': {
    prepare: (fake) => {
      fake.onCall = (name) => void (name === 'CompleteSnapshot' && Object.assign(fake.behaviour, { expired: true }));
    },
    hint: /log in again/,
    exitCode: EXIT.prerequisite,
  },
  'a clock that is an hour late': {
    prepare: ({ behaviour }) => Object.assign(behaviour, { skew: 3_600_000 }),
    hint: /clock/,
    exitCode: EXIT.prerequisite,
  },
  'a signature that is quoted back with its token': {
    prepare: (fake) => {
      fake.credentials.secretAccessKey += 'x';
    },
    hint: /access key/,
    exitCode: EXIT.prerequisite,
  },
  'a block that arrives with other bytes': {
    prepare: (fake) => {
      fake.fault = (name) =>
        name === 'PutSnapshotBlock'
          ? {
              kind: 'error',
              status: 403,
              code: 'InvalidSignatureException',
              message: 'The value of x-amz-Checksum does not match',
            }
          : undefined;
    },
    hint: /other bytes than were sent/,
    exitCode: EXIT.failed,
  },
  'a full quota': {
    prepare: (fake) => {
      fake.fault = (name) =>
        name === 'StartSnapshot'
          ? { kind: 'error', status: 402, code: 'ServiceQuotaExceededException', message: 'pending snapshots' }
          : undefined;
    },
    hint: /quota/,
    exitCode: EXIT.failed,
  },
};

for (const [what, { prepare, hint, exitCode }] of Object.entries(final)) {
  test.serial(`${what} ends it at once, with what to do`, async (t) => {
    const fake = await fakeAws(t);
    const cloud = await openCloud(t, { retry: 60_000 });
    const job = jobOf(await disk());
    prepare(fake);
    const startedAt = performance.now();
    const error = await t.throwsAsync(publish(cloud, job), { instanceOf: BuildError });
    t.true(performance.now() - startedAt < 5000, 'it was not tried again');
    t.regex(error.hint, hint);
    t.is(error.exitCode, exitCode);
    t.false(renderError(error).includes('    at '), 'no stack');
    t.is(error.cause, undefined);
    t.notRegex(error.message, /security-token/, 'what AWS quotes of the request is left out');
    assertSilent(t, fake, job, error);
  });
}

test.serial("the scan for secrets can fail, and AWS' words are cut where they could hold one", (t) => {
  const secret = 'x'.repeat(80);
  const told = explain(
    Object.assign(new Error(`no: ${secret} Encoded authorization failure message: abc`), {
      name: 'Other',
      $metadata: { httpStatusCode: 400 },
    }),
    'doing',
  );
  t.is(told.message, 'doing: Other: no: …');
  const signature = (message: string) =>
    explain(Object.assign(new Error(message), { name: 'InvalidSignatureException' }), 'doing');
  t.regex(signature('The Canonical String should have been x-amz-checksum:abc').hint, /access key/);
  t.regex(signature('x-amz-Checksum does not match').hint, /other bytes/);
  let found = false;
  const job = { ...jobOf({ rawSha256: '', path: '', size: 0, blocks: {} }), told: [USER_DATA] };
  const probe = {
    false: (value: boolean) => {
      found ||= value;
    },
  };
  assertSilent(probe, { credentials: { secretAccessKey: 'a-secret', sessionToken: 'a-token' } } as FakeAws, job);
  t.true(found);
});

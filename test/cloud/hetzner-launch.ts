import type { ExecutionContext } from 'ava';
import type { CloudImage } from '../../src/clouds/cloud.ts';
import { machines as openMachines } from '../../src/clouds/hetzner/machines.ts';
import type { LaunchJob, Machines, Opening, Start } from '../../src/clouds/machines.ts';
import type { Fault } from '../fakes/fake.ts';
import { type FakeHetzner, startFakeHetzner } from '../fakes/hetzner/index.ts';
import { openFake } from './hetzner-job.ts';

// One project on the fake alone, with a published snapshot, for tests of machines that stay: nothing is written to and
// nobody logs in. A test file is a process of its own, so that what is here is that file's.

export const EVERYBODY = ['0.0.0.0/0', '::/0'];
export const ADMIN: Opening = { port: 20000, to: 32767, sources: ['198.51.100.7/32', '2001:db8:1::/48'] };
export const WEB: Opening = { port: 443, sources: EVERYBODY };
export const TOKEN = 'one-time-token-of-the-user-data';
export const USER_DATA = `#cloud-config\n${JSON.stringify({ write_files: [{ path: '/x', content: TOKEN }] })}\n`;

export let fake: FakeHetzner;
export let machines: Machines;
export let image: CloudImage;
/** User-data with which machines were booted. */
export let booted: string[];

/** To be called before each test, and `fake.close` after it. */
export async function openScene(): Promise<void> {
  booted = [];
  const hypervisor = {
    boot: async ({ userData }: { userData: string }) => {
      booted.push(userData);
      return { console: () => '', off: async () => {} };
    },
  };
  fake = await startFakeHetzner({ hypervisor, actionMs: 10 });
  await openFake(fake);
  machines = await openMachines(undefined);
  image = await snapshot();
}

// biome-ignore lint/suspicious/noExplicitAny: looked into by each test.
export async function ask(method: string, path: string, body?: unknown): Promise<any> {
  const headers = { authorization: `Bearer ${fake.env.HCLOUD_TOKEN}`, 'content-type': 'application/json' };
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const answer = await fetch(`${fake.env.HCLOUD_ENDPOINT}${path}`, init);
  return answer.status === 204 ? undefined : answer.json();
}

export const firewalls = async (selector = '') =>
  (await ask('GET', `/firewalls?label_selector=${encodeURIComponent(selector || 'clawdy-launched')}`)).firewalls;
export const server = async (id: string) => (await ask('GET', `/servers/${id}`)).server;
export const rules = async (run: string) => (await firewalls(`clawdy-run==${run}`))[0].rules;

export async function settled(id: number): Promise<void> {
  while ((await server(String(id)))?.locked) await new Promise((done) => setTimeout(done, 5));
}

/** A snapshot as a publication leaves it. */
async function snapshot(): Promise<CloudImage> {
  const made = { name: 'publisher', server_type: 'cx23', image: 'debian-13', start_after_create: false };
  const { id } = (await ask('POST', '/servers', made)).server;
  await settled(id);
  const labels = { 'clawdy-owner': 'clawdy-image', 'clawdy-run': 'published', 'clawdy-image': 'debian-13-x' };
  const data = { type: 'snapshot', labels: { ...labels, 'clawdy-base': 'debian-13', 'clawdy-digest': 'd1' } };
  await ask('POST', `/servers/${id}/actions/create_image`, data);
  await settled(id);
  await ask('DELETE', `/servers/${id}`);
  while ((await ask('GET', '/servers')).servers.length > 0) await new Promise((done) => setTimeout(done, 5));
  const [found] = await (await openFake(fake)).list('fsn1');
  if (!found) throw new Error('no snapshot');
  return found;
}

let runs = 0;
interface TestJob extends LaunchJob {
  said: string[];
}
export function launch(more: { run?: string; region?: string } = {}): TestJob {
  const said: string[] = [];
  return { run: `launch-${++runs}`, region: 'fsn1', ...more, said, detail: (text) => void said.push(text) };
}
export const wanted = (more: Partial<Start> = {}): Start => ({ image, userData: USER_DATA, name: 'box', ...more });

/** What is there beside the snapshot. */
export const live = () => fake.live().filter((name) => name !== `snapshot ${image.imageId}`);

/** Lets `count` calls through; the next takes effect, but nobody hears of it, nor does anything later reach anybody. */
export function killAfter(count: number): void {
  let calls = 0;
  fake.fault = (): Fault | undefined => {
    const call = calls++;
    if (call < count) return undefined;
    if (call === count) return { kind: 'reset', after: true };
    return { kind: 'error', status: 401, code: 'unauthorized', message: 'killed' };
  };
}

/** Kills `work` after each of its calls in turn, until it gets through; `then` looks at what is to be done about it. */
export async function killedEverywhere<T>(
  t: ExecutionContext,
  prepare: () => Promise<T>,
  work: (on: T) => Promise<unknown>,
  then: (on: T, where: string, at: number) => Promise<void>,
): Promise<void> {
  for (let at = 0, through = false; !through; at++) {
    const on = await prepare();
    const before = fake.calls.length;
    killAfter(at);
    through = await work(on).then(
      () => true,
      () => false,
    );
    fake.fault = undefined;
    const calls = fake.calls.slice(before);
    await then(on, `killed after ${calls.at(-1)} (${at})`, at);
    if (through) t.log(`${at} calls: ${calls.join(', ')}`);
    if (through) t.true(at > 2);
  }
}

import type { CloudImage } from '../../src/clouds/cloud.ts';
import { machines as openMachines } from '../../src/clouds/hetzner/machines.ts';
import type { LaunchJob, Machines, Opening, Start } from '../../src/clouds/machines.ts';
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

import { type Check, guarded } from '../../doctor/check.ts';
import { has } from '../../process/run.ts';
import type { HetznerApi } from './api.ts';
import { offered } from './servers.ts';

/** Reads only. */
export function doctor(api: HetznerApi, region: string): Promise<Check[]> {
  const token = 'Hetzner token';
  const place = `Hetzner location ${region}`;
  const client = 'OpenSSH client';
  return Promise.all([
    guarded(token, 'export HCLOUD_TOKEN=… (Hetzner console, Security, API tokens, Read & Write)', async () => {
      const servers = await api.call('reading servers', () => api.servers());
      const found = `reads the project, in which are ${servers.length} servers; a token that may only read can't be told from one that may write without changing something`;
      return { name: token, ok: true, fix: '', found };
    }),
    guarded(place, 'another location with --region', async () => {
      const [locations, types] = await api.call('reading locations', () =>
        Promise.all([api.locations(), api.serverTypes()]),
      );
      const [smallest] = offered(types, region, 0);
      const ok = locations.some(({ name }) => name === region) && smallest !== undefined;
      const known = locations.map(({ name }) => name).join(', ');
      const found = smallest
        ? `offers ${offered(types, region, 0).length} x86 server types, the smallest ${smallest.name} (${smallest.disk} GB)`
        : `offers no x86 server now; locations: ${known}`;
      return { name: place, ok, fix: ok ? '' : `--region: one of ${known}`, found };
    }),
    guarded(client, 'npm run setup', async () => {
      const ok = (await has('ssh')) && (await has('ssh-keygen'));
      return { name: client, ok, fix: ok ? '' : 'npm run setup', found: ok ? 'ssh and ssh-keygen' : 'missing' };
    }),
  ]);
}

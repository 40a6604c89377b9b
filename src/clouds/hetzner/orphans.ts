import { inputError } from '../../process/errors.ts';
import { LABELS, type Orphan } from '../cloud.ts';
import type { HetznerApi } from './api.ts';
import { OURS, PASSING } from './labels.ts';

/** Temporary servers and keys, and snapshots that aren't whole. What a launch makes is the launch's to sweep. */
export async function orphans(api: HetznerApi, region: string): Promise<Orphan[]> {
  const [servers, keys, images] = await api.call('looking for what runs have left', () =>
    Promise.all([
      api.servers({ labelSelector: PASSING }),
      api.sshKeys({ label_selector: PASSING }),
      api.images({ type: 'snapshot', label_selector: OURS }),
    ]),
  );
  const orphan = (
    kind: string,
    { id, labels, created }: { id: number; labels: Record<string, string>; created: string },
  ) => ({
    region,
    kind,
    id: String(id),
    run: labels[LABELS.run] ?? '',
    created: new Date(created).toISOString(),
  });
  return [
    // Servers before keys and snapshots: a snapshot that is being made of one holds it.
    ...servers.map((server) => orphan('server', { ...server, created: server.created.toISOString() })),
    ...keys.map((key) => orphan('ssh-key', key)),
    ...images.filter(({ status }) => status !== 'available').map((image) => orphan('snapshot', image)),
  ];
}

export async function removeOrphan(api: HetznerApi, { kind, id }: Orphan): Promise<void> {
  const number = Number(id);
  const call = {
    server: () => api.deleteServer(number),
    'ssh-key': () => api.deleteSshKey(number),
    snapshot: () => api.deleteImage(number),
  }[kind];
  if (!call) throw inputError('hetzner', `${kind} is nothing that is made at Hetzner`, 'server, ssh-key or snapshot');
  await api.call(`deleting ${kind} ${id}`, call);
}

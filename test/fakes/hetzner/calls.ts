import * as form from './answers.ts';
import { invalid, Refusal, taken } from './errors.ts';
import type { Project } from './project.ts';
import { type CallName, REQUESTS } from './requests.ts';
import { pageOf, selects, sorted } from './select.ts';

export interface Call {
  id: number;
  // biome-ignore lint/suspicious/noExplicitAny: each call's own schema has checked it.
  query: any;
  // biome-ignore lint/suspicious/noExplicitAny: likewise.
  body: any;
}

export interface Reply {
  status: number;
  body?: unknown;
}

const ok = (body: unknown): Reply => ({ status: 200, body });
const created = (body: unknown): Reply => ({ status: 201, body });
const GONE: Reply = { status: 204 };

/** What each call does in the project. */
export function callsOf(project: Project): Record<CallName, (call: Call) => Promise<Reply> | Reply> {
  const { servers, images, sshKeys, actions, firewalls } = project;
  const server = (id: number) => project.one(servers, id, 'server');
  const firewall = (id: number) => project.one(firewalls.all, id, 'firewall');
  const shownFirewall = (it: form.Firewall) => form.firewall(it, firewalls.behind(it));
  const target = ({ server: { id } }: { server: { id: number } }) => {
    const found = servers.get(id);
    if (!found) throw new Refusal(404, 'firewall_resource_not_found', `server ${id} not found`);
    return found;
  };
  const began = (action: form.Action, more = {}) => created({ action: form.action(action), ...more });

  function list<T extends { id: number; name?: string | null; labels?: Record<string, string> }>(
    key: string,
    all: Iterable<T>,
    // biome-ignore lint/suspicious/noExplicitAny: see Call.
    query: any,
    shown: (item: T) => unknown,
  ): Reply {
    const { label_selector: selector, name, sort } = query;
    const found = [...all]
      .filter((item) => name === undefined || item.name === name)
      .filter((item) => selector === undefined || selects(selector, item.labels ?? {}));
    const { items, meta } = pageOf(sorted(found, sort), query);
    return ok({ [key]: items.map(shown), meta });
  }

  const within = (wanted: string[] | undefined, value: string) => wanted === undefined || wanted.includes(value);

  return {
    'GET /actions': ({ query }) => {
      const found = [...actions.all.values()].filter(
        ({ id, status }) => within(query.id, String(id)) && within(query.status, status),
      );
      const { items, meta } = pageOf(sorted(found, query.sort), query);
      return ok({ actions: items.map(form.action), meta });
    },
    'GET /servers/{id}/actions': ({ id, query }) => {
      const found = [...actions.all.values()].filter(
        ({ resources, status }) =>
          resources.some((of) => of.type === 'server' && of.id === server(id).id) && within(query.status, status),
      );
      const { items, meta } = pageOf(sorted(found, query.sort), query);
      return ok({ actions: items.map(form.action), meta });
    },
    'GET /actions/{id}': ({ id }) => ok({ action: form.action(actions.get(id)) }),

    'GET /servers': ({ query }) =>
      list(
        'servers',
        [...servers.values()].filter(({ status }) => within(query.status, status)),
        query,
        form.server,
      ),
    'POST /servers': async ({ body }) => {
      const { server: made, action, next, root_password } = await project.createServer(body);
      const next_actions = next.map(form.action);
      return created({ server: form.server(made), action: form.action(action), next_actions, root_password });
    },
    'GET /servers/{id}': ({ id }) => ok({ server: form.server(server(id)) }),
    'PUT /servers/{id}': ({ id, body }) => {
      if (body.name && [...servers.values()].some((other) => other.id !== id && other.name === body.name))
        throw taken('server name');
      return ok({ server: form.server(Object.assign(server(id), body)) });
    },
    'DELETE /servers/{id}': ({ id }) => ok({ action: form.action(project.deleteServer(server(id))) }),
    'POST /servers/{id}/actions/poweron': ({ id }) => began(project.powerOn(server(id))),
    'POST /servers/{id}/actions/poweroff': ({ id }) => began(project.powerOff(server(id))),
    'POST /servers/{id}/actions/shutdown': ({ id }) => began(project.shutdown(server(id))),
    'POST /servers/{id}/actions/enable_rescue': ({ id, body }) =>
      began(project.enableRescue(server(id), body.ssh_keys ?? []), { root_password: project.secret() }),
    'POST /servers/{id}/actions/disable_rescue': ({ id }) => began(project.disableRescue(server(id))),
    'POST /servers/{id}/actions/create_image': ({ id, body }) => {
      if (body.type === 'backup') throw invalid('backups are not enabled for this server');
      const { action, image } = project.createImage(server(id), body.description, body.labels ?? {});
      return began(action, { image: form.image(image) });
    },

    'GET /images': ({ query }) => {
      const found = [...images.values()].filter(
        (image) =>
          within(query.type, image.type) &&
          within(query.status, image.status) &&
          within(query.architecture, 'x86') &&
          query.bound_to === undefined,
      );
      return list('images', found, query, form.image);
    },
    'GET /images/{id}': ({ id }) => ok({ image: form.image(project.one(images, id, 'image')) }),
    'PUT /images/{id}': ({ id, body: { type: _, ...change } }) =>
      ok({ image: form.image(Object.assign(project.one(images, id, 'image'), change)) }),
    'DELETE /images/{id}': ({ id }) => {
      project.deleteImage(project.one(images, id, 'image'));
      return GONE;
    },

    'GET /ssh_keys': ({ query }) => {
      const found = [...sshKeys.values()].filter((key) =>
        within(query.fingerprint && [query.fingerprint], key.fingerprint),
      );
      return list('ssh_keys', found, query, form.sshKey);
    },
    'POST /ssh_keys': ({ body }) =>
      created({ ssh_key: form.sshKey(project.createSshKey(body.name, body.public_key, body.labels ?? {})) }),
    'GET /ssh_keys/{id}': ({ id }) => ok({ ssh_key: form.sshKey(project.one(sshKeys, id, 'SSH key')) }),
    'PUT /ssh_keys/{id}': ({ id, body }) =>
      ok({ ssh_key: form.sshKey(Object.assign(project.one(sshKeys, id, 'SSH key'), body)) }),
    'DELETE /ssh_keys/{id}': ({ id }) => {
      project.one(sshKeys, id, 'SSH key');
      sshKeys.delete(id);
      return GONE;
    },

    'GET /firewalls': ({ query }) => list('firewalls', firewalls.all.values(), query, shownFirewall),
    'POST /firewalls': ({ body: { name, labels = {}, rules = [] } }) => {
      const { firewall: made, actions: begun } = firewalls.create(name, labels, rules);
      return created({ firewall: shownFirewall(made), actions: begun.map(form.action) });
    },
    'GET /firewalls/{id}': ({ id }) => ok({ firewall: shownFirewall(firewall(id)) }),
    'PUT /firewalls/{id}': ({ id, body }) => {
      if (body.name) firewalls.refuseName(body.name, id);
      if (firewall(id).lockedBy !== undefined) throw new Refusal(409, 'conflict', 'firewall is being changed');
      return ok({ firewall: shownFirewall(Object.assign(firewall(id), body)) });
    },
    'DELETE /firewalls/{id}': ({ id }) => {
      firewalls.delete(firewall(id));
      return GONE;
    },
    'POST /firewalls/{id}/actions/set_rules': ({ id, body }) =>
      created({ actions: firewalls.setRules(firewall(id), body.rules).map(form.action) }),
    'POST /firewalls/{id}/actions/apply_to_resources': ({ id, body }) => {
      const [found, on] = [firewall(id), body.apply_to.map(target) as form.Server[]];
      for (const { firewalls: has } of on) {
        if (has.some((own) => own.id === id))
          throw new Refusal(422, 'firewall_already_applied', 'firewall is applied to this server');
        firewalls.checked([...has.map((own) => own.id), id]);
      }
      return created({ actions: on.map((one) => form.action(firewalls.attach(found, one))) });
    },
    'POST /firewalls/{id}/actions/remove_from_resources': ({ id, body }) => {
      const [found, from] = [firewall(id), body.remove_from.map(target) as form.Server[]];
      return created({ actions: from.map((one) => form.action(firewalls.detach(found, one))) });
    },

    'GET /server_types': ({ query }) => list('server_types', form.SERVER_TYPES, query, form.serverType),
    'GET /server_types/{id}': ({ id }) =>
      ok({ server_type: form.serverType(project.one(byId(form.SERVER_TYPES), id, 'server type')) }),
    'GET /locations': ({ query }) => list('locations', form.LOCATIONS, query, form.location),
    'GET /locations/{id}': ({ id }) =>
      ok({ location: form.location(project.one(byId(form.LOCATIONS), id, 'location')) }),
    'GET /pricing': () => ok({ pricing: form.pricing() }),
  };
}

const byId = <T extends { id: number }>(all: T[]) => new Map(all.map((item) => [item.id, item]));

/** The call of a method and path, and the ID in it. */
export function callOf(method: string, path: string): { name: CallName; id: number } | undefined {
  const id = /^\/[a-z_]+\/(\d+)(?=\/|$)/.exec(path)?.[1];
  const name = `${method} ${id === undefined ? path : path.replace(/\/\d+/, '/{id}')}`;
  return name in REQUESTS ? { name: name as CallName, id: Number(id) } : undefined;
}

import { isIPv4 } from 'node:net';
import { inputError } from '../../process/errors.ts';
import { all, asked } from '../api.ts';
import { type Change, type Context, MARK, type Part } from '../change.ts';

const permissions = ['DNS: Edit'];

interface Listed {
  id: string;
  name: string;
  type: string;
  content: string;
  proxied: boolean;
  ours: boolean;
}

/** An address that no packet reaches (https://www.rfc-editor.org/rfc/rfc6666), for names that the Worker alone answers. */
const NOWHERE = '100::';

/** Each instance's, and where a Worker answers its wildcard: a route needs a proxied record (https://developers.cloudflare.com/workers/configuration/routing/routes/). */
const wanted = ({ zone, served }: Context) => [
  ...zone.origins,
  ...(served ? [{ name: `*.${served.domain}`, address: NOWHERE }] : []),
];

/** A proxied record for each instance; ours by its comment. */
export const dns: Part = {
  name: 'DNS',
  permissions,
  changes: async (context) => {
    const there = await list(context);
    const changes: Change[] = [];
    for (const { name, address } of wanted(context)) {
      const type = isIPv4(address) ? 'A' : 'AAAA';
      const of = there.filter((one) => one.name === name && ['A', 'AAAA', 'CNAME'].includes(one.type));
      const foreign = of.find(({ ours }) => !ours);
      if (foreign)
        throw inputError(
          'edge',
          `${name} has a record (${foreign.type} ${foreign.content}) that isn't ours: its comment isn't ${MARK}`,
          'nothing was changed; remove it, or give it that comment',
        );
      const mine = of.find((one) => one.type === type);
      const to = `${type} ${address}, proxied`;
      if (!mine) changes.push(create(context, name, type, address, to));
      else if (mine.content !== address || !mine.proxied) changes.push(update(context, mine, address, to));
      for (const other of of.filter((one) => one !== mine)) changes.push(remove(context, other));
    }
    const names = new Set(wanted(context).map(({ name }) => name));
    const gone = there.filter((one) => one.ours && !names.has(one.name));
    return [...changes, ...gone.map((one) => remove(context, one))];
  },
  removal: async (context) => (await list(context)).filter(({ ours }) => ours).map((one) => remove(context, one)),
};

async function list({ api, zoneId }: Context): Promise<Listed[]> {
  const there = await asked(
    'reading DNS records',
    permissions,
    all(api.dns.records.list({ zone_id: zoneId, per_page: 1000 })),
  );
  return there.map(({ id, name, type, comment, ...rest }) => {
    const { content, proxied } = rest as { content?: string; proxied?: boolean };
    return { id, name, type, content: content ?? '', proxied: proxied ?? false, ours: comment === MARK };
  });
}

/** 1: Cloudflare's own choice, which proxied records have in any case. */
const body = (name: string, type: string, content: string) =>
  ({ name, type: type as 'A', content, proxied: true, ttl: 1, comment: MARK }) as const;

function create({ api, zoneId }: Context, name: string, type: string, address: string, to: string): Change {
  return {
    ...{ what: 'create', name: `record ${name}`, to },
    apply: () =>
      asked(`record ${name}`, permissions, api.dns.records.create({ zone_id: zoneId, ...body(name, type, address) })),
  };
}

function update({ api, zoneId }: Context, mine: Listed, address: string, to: string): Change {
  const { id, name, type, content, proxied } = mine;
  return {
    ...{ what: 'update', name: `record ${name}`, from: `${type} ${content}${proxied ? ', proxied' : ''}`, to },
    apply: () =>
      asked(
        `record ${name}`,
        permissions,
        api.dns.records.update(id, { zone_id: zoneId, ...body(name, type, address) }),
      ),
  };
}

function remove({ api, zoneId }: Context, { id, name, type, content }: Listed): Change {
  return {
    ...{ what: 'delete', name: `record ${name}`, from: `${type} ${content}` },
    apply: () => asked(`record ${name}`, permissions, api.dns.records.delete(id, { zone_id: zoneId })),
  };
}

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
    const want = wanted(context);
    const names = new Set(want.map(({ name }) => name));
    const changes = [...names].flatMap((name) => {
      const of = there.filter((one) => one.name === name && ['A', 'AAAA', 'CNAME'].includes(one.type));
      return ofName(context, name, want, of);
    });
    const gone = there.filter((one) => one.ours && !names.has(one.name));
    return [...changes, ...gone.map((one) => remove(context, one))];
  },
  removal: async (context) => (await list(context)).filter(({ ours }) => ours).map((one) => remove(context, one)),
};

/** One name's: it may have several addresses. What is no longer wanted becomes what is missing, where it is of its kind. */
function ofName(context: Context, name: string, want: { name: string; address: string }[], of: Listed[]): Change[] {
  const foreign = of.find(({ ours }) => !ours);
  if (foreign)
    throw inputError(
      'edge',
      `${name} has a record (${foreign.type} ${foreign.content}) that isn't ours: its comment isn't ${MARK}`,
      'nothing was changed; remove it, or give it that comment',
    );
  const addresses = want.filter((one) => one.name === name).map(({ address }) => address);
  const right = of.filter(({ content }) => addresses.includes(content));
  const spare = of.filter((one) => !right.includes(one));
  const bare = right.filter(({ proxied }) => !proxied).map((one) => update(context, one, one.content));
  const missing = addresses
    .filter((address) => !right.some(({ content }) => content === address))
    .map((address) => {
      const at = spare.findIndex(({ type }) => type === typeOf(address));
      const [old] = at < 0 ? [] : spare.splice(at, 1);
      return old ? update(context, old, address) : create(context, name, address);
    });
  return [...bare, ...missing, ...spare.map((one) => remove(context, one))];
}

const typeOf = (address: string) => (isIPv4(address) ? 'A' : 'AAAA');
const toldOf = (address: string) => `${typeOf(address)} ${address}, proxied`;

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

function create({ api, zoneId }: Context, name: string, address: string): Change {
  return {
    ...{ what: 'create', name: `record ${name}`, to: toldOf(address) },
    apply: () => {
      const record = { zone_id: zoneId, ...body(name, typeOf(address), address) };
      return asked(`record ${name}`, permissions, api.dns.records.create(record));
    },
  };
}

function update({ api, zoneId }: Context, mine: Listed, address: string): Change {
  const { id, name, type, content, proxied } = mine;
  const to = toldOf(address);
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

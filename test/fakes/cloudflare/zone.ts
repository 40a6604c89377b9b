import { misfit } from './judge.ts';
import { type PhaseBody, refusal, stored } from './rules.ts';
import { type Body, type FakeZone, judged, kept, Refusal, removed } from './state.ts';

/** `/zones/…/settings/<id>`. */
export function setting({ settings }: FakeZone, method: string, id: string, body: Body) {
  const now = settings.get(id);
  if (!now) throw new Refusal(400, 1006, 'Unrecognized zone setting name');
  if (method === 'PATCH') {
    if (!now.editable) throw new Refusal(403, 1015, `Not allowed to edit setting for ${id}`);
    if (id === 'always_use_https' ? !['on', 'off'].includes(body.value as string) : misfit(id, body.value))
      throw new Refusal(400, 1007, `Invalid value for zone setting ${id}`);
    now.value = body.value;
  }
  return { id, ...now, modified_on: null };
}

/** `/zones/…/dns_records`. */
export function record({ id: zone_id, records }: FakeZone, method: string, id: string | undefined, body: Body) {
  const others = [...records.values()].filter((one) => one.id !== id);
  if (method === 'GET') return [...records.values()];
  if (method === 'DELETE') return removed(records, id);
  judged('dnsRecord', { zone_id, ...body });
  const alike = others.filter(({ name }) => name === body.name);
  if (alike.some(({ type, content }) => type === body.type && content === body.content))
    throw new Refusal(400, 81_058, 'An identical record already exists.');
  if (alike.some(({ type }) => (type === 'CNAME') !== (body.type === 'CNAME')))
    throw new Refusal(400, 81_053, 'An A, AAAA, or CNAME record with that host already exists.');
  return kept(records, method, id, { ttl: 1, proxied: false, comment: null, tags: [], meta: {}, ...body });
}

/** `/zones/…/bot_management`. */
export function bots(zone: FakeZone, method: string, body: Body) {
  if (method === 'PUT') {
    judged('bots', { zone_id: zone.id, ...body });
    zone.fight = (body.fight_mode as boolean | undefined) ?? zone.fight;
  }
  return { fight_mode: zone.fight, enable_js: false, using_latest_model: true };
}

/** `/zones/…/rulesets/phases/<name>/entrypoint`. */
export function phase(
  { id, plan, phases }: FakeZone,
  method: string,
  name: string,
  query: URLSearchParams,
  body: PhaseBody,
) {
  const now = phases.get(name);
  if (method === 'GET' && !now) throw new Refusal(404, 10_003, 'could not find entrypoint ruleset in the given phase');
  let rules = now ?? [];
  if (method === 'PUT') {
    const why = refusal(plan, name, id, body);
    if (why) throw new Refusal(400, 20_000, why);
    rules = stored(rules, body);
    if (query.get('dry_run') !== 'true') phases.set(name, rules);
  }
  const last_updated = new Date().toISOString();
  return { id: name, kind: 'zone', name: 'default', phase: name, version: '1', last_updated, rules };
}

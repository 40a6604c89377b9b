import type { Cloudflare } from 'cloudflare';
import { GATE_HEADERS } from '../../contract/gate.ts';
import { asked, found } from '../api.ts';
import { clauseOf, EXPRESSION_LIMIT } from '../bans.ts';
import { type Change, type Context, MARK, type Part, same } from '../change.ts';
import { need } from '../limits.ts';
import { LIST_NAME_LIMIT, listInUse } from './ban-list.ts';

/** A rule as it is sent; what of it is compared. */
export interface Rule {
  ref: string;
  description: string;
  expression: string;
  action: string;
  action_parameters?: unknown;
  ratelimit?: unknown;
  enabled: boolean;
}
type Remote = Record<string, unknown> & { ref?: string; id?: string };
type Phase = Parameters<Cloudflare['rulesets']['phases']['get']>[0];

const permissions = ['Zone WAF: Edit'];
const ref = (name: string) => `${MARK}_${name.replaceAll('-', '_')}`;
const rule = (name: string, expression: string, action: string, more: Partial<Rule> = {}): Rule => ({
  ...{ ref: ref(name), description: `${MARK}: ${name}`, expression, action, enabled: true, ...more },
});

/** Cloudflare's rule sets: https://developers.cloudflare.com/waf/managed-rules/reference/ */
const MANAGED = {
  free: '77454fe2d30c4220b5701f6fdfb893ba',
  cloudflare: 'efb7b8c949ac4650a09736fc376e9aee',
  owasp: '4814384a9e5d4991b9815dcfc25d2f1f',
} as const;

/** Nobody from outside says who they are in the words that the auth proxy uses towards the box. The box takes them off as well. */
const PRETENDERS = `any(http.request.headers.names[*] in {${Object.values(GATE_HEADERS)
  .map((name) => `"${name}"`)
  .join(' ')}})`;

/**
 * What the zone's own Worker asks instances isn't meant, should Cloudflare judge that as well: its page has a rule that leaves it out
 * (https://developers.cloudflare.com/waf/custom-rules/use-cases/block-worker-subrequests/). No visitor can set the field.
 */
const pretenders = ({ zone, served }: Context) =>
  served ? `(${PRETENDERS} and cf.worker.upstream_zone ne "${zone.zone}")` : PRETENDERS;

/** Everybody on the list, where there is one, and on single hosts those whom their own instance has banned. */
const banned = (list: string | undefined, byHost: [string, string[]][]) =>
  [...(list ? [`(ip.src in $${list})`] : []), ...byHost.map(([host, addresses]) => clauseOf(host, addresses))].join(
    ' or ',
  );

/** Characters that are left for the bans of single hosts. */
export const roomForBans = () => EXPRESSION_LIMIT - banned('x'.repeat(LIST_NAME_LIMIT), []).length;

/** The rule as bans are now; as it is where this machine doesn't know of any. */
async function banRules(context: Context, now: Remote[]): Promise<Rule[]> {
  const { bans } = context;
  if (!bans) return [];
  if (bans === 'unknown') return now.filter((one) => one.ref === ref('bans')).map(asRule);
  const expression = banned(await listInUse(context), bans.byHost);
  return expression ? [rule('bans', expression, 'block')] : [];
}

async function custom(context: Context, now: Remote[]): Promise<Rule[]> {
  const { zone, limits } = context;
  const rules = [
    rule('pretenders', pretenders(context), 'block'),
    ...(await banRules(context, now)),
    ...zone.rules.map(({ name, expression, action }) => rule(`custom-${name}`, expression, action)),
  ];
  need(limits, limits.plan === 'enterprise' || !rules.some(({ action }) => action === 'log'), 'a rule that only logs');
  need(
    limits,
    limits.regex || !rules.some(({ expression }) => /\smatches\s/.test(expression)),
    'a rule with `matches`',
  );
  return rules;
}

function rateLimits({ zone, limits }: Context): Rule[] {
  return zone.rateLimits.map(({ name, expression, requests, seconds, pause }) => {
    need(
      limits,
      limits.periods.includes(seconds),
      `rate limit ${name}: ${seconds} s (of ${limits.periods.join(', ')})`,
    );
    const odd = fieldsOf(expression).find((field) => limits.rateFields && !limits.rateFields.includes(field));
    need(limits, odd === undefined, `rate limit ${name}: the field ${odd} (of ${limits.rateFields?.join(', ')})`);
    need(
      limits,
      limits.pauses.includes(pause),
      `rate limit ${name}: a pause of ${pause} s (of ${limits.pauses.join(', ')})`,
    );
    return rule(`limit-${name}`, expression, 'block', {
      ratelimit: {
        // Counted at each of Cloudflare's sites by itself, which all plans below the largest have to say.
        ...{
          characteristics: ['cf.colo.id', 'ip.src'],
          period: seconds,
          requests_per_period: requests,
          mitigation_timeout: pause,
          requests_to_origin: false,
        },
      },
    });
  });
}

/** Fields that an expression asks about, outside of its strings. */
const fieldsOf = (expression: string) =>
  expression.replaceAll(/"(?:[^"\\]|\\.)*"/g, '').match(/\b(?:http|ip|cf|ssl|raw|udp|tcp)\.[a-z0-9_.]+/g) ?? [];

function managed({ zone, limits }: Context): Rule[] {
  const execute = (name: string, id: string) => rule(name, 'true', 'execute', { action_parameters: { id } });
  need(limits, limits.managed || !zone.waf.owasp, "OWASP's rules");
  return [
    ...(zone.waf.managed ? [execute('managed', limits.managed ? MANAGED.cloudflare : MANAGED.free)] : []),
    ...(zone.waf.owasp ? [execute('owasp', MANAGED.owasp)] : []),
  ];
}

interface Kind {
  phase: Phase;
  wanted: (context: Context, now: Remote[]) => Rule[] | Promise<Rule[]>;
  /** So many there may be, foreign ones included. */
  most?: (context: Context) => number;
}

const KINDS: Kind[] = [
  { phase: 'http_request_firewall_custom', wanted: custom, most: ({ limits }) => limits.customRules },
  { phase: 'http_ratelimit', wanted: rateLimits, most: ({ limits }) => limits.rateLimits },
  { phase: 'http_request_firewall_managed', wanted: managed },
];

/** Rules are ours by their `ref`. Whoever sets a phase replaces all of it: others' stay as they are, in their order, behind ours. */
export const rules: Part = {
  name: 'rules',
  permissions,
  changes: async (context) => (await Promise.all(KINDS.map((kind) => changeOf(context, kind, kind.wanted)))).flat(),
  removal: async (context) => (await Promise.all(KINDS.map((kind) => changeOf(context, kind, () => [])))).flat(),
};

/** The rule of the bans alone, for a timer: whatever else somebody has changed, or means to change, stays as it is. */
export const banRule: Part = {
  name: 'ban rule',
  permissions,
  changes: (context) =>
    changeOf(context, KINDS[0] as Kind, async (_, now) => {
      const mine = now.filter(isOurs).map(asRule);
      const [bans] = await banRules(context, now);
      const at = mine.findIndex((one) => one.ref === ref('bans'));
      // Where `rules` has it: behind the pretenders.
      return at < 0 ? mine.toSpliced(1, 0, ...(bans ? [bans] : [])) : mine.toSpliced(at, 1, ...(bans ? [bans] : []));
    }),
  removal: async () => [],
};

const isOurs = ({ ref }: Remote) => ref?.startsWith(`${MARK}_`) ?? false;

async function read({ api, zoneId }: Context, phase: Phase): Promise<Remote[]> {
  const ruleset = await asked(
    `reading ${phase}`,
    permissions,
    found(api.rulesets.phases.get(phase, { zone_id: zoneId })),
  );
  return ((ruleset as { rules?: Remote[] } | undefined)?.rules ?? []) as Remote[];
}

/** Without what Cloudflare adds to each version. */
const sendable = ({ version, last_updated, ...rest }: Remote): Remote => rest;

/** One that is there, as it would be sent again. */
const asRule = (one: Remote) => sendable(one) as unknown as Rule;

/** Cloudflare adds `version: latest` to what executes a managed set: https://developers.cloudflare.com/waf/managed-rules/deploy-api/ */
function comparable({
  ref,
  description,
  expression,
  action,
  action_parameters: sent,
  ratelimit,
  enabled,
}: Partial<Rule>) {
  const { version, ...rest } = (sent ?? {}) as { version?: string };
  const action_parameters = sent === undefined || version !== 'latest' ? sent : rest;
  return { ref, description, expression, action, action_parameters, ratelimit, enabled: enabled ?? true };
}

async function changeOf(context: Context, { phase, most }: Kind, wanted: Kind['wanted']): Promise<Change[]> {
  const now = await read(context, phase);
  const want = await wanted(context, now);
  const [ours, foreign] = [now.filter(isOurs), now.filter((one) => !isOurs(one))];
  const inFront = now.slice(0, want.length).every(isOurs);
  if (
    inFront &&
    same(
      ours.map((one) => comparable(one as Partial<Rule>)),
      want.map(comparable),
    )
  )
    return [];
  const limit = most?.(context) ?? Number.POSITIVE_INFINITY;
  need(
    context.limits,
    want.length + foreign.length <= limit,
    `${phase}: ${want.length} rules of ours and ${foreign.length} of others (at most ${limit})`,
  );
  const told = (list: Partial<Rule>[]) => list.map((one) => comparable(one));
  return [
    {
      ...{ what: 'update', name: phase, from: told(ours as Partial<Rule>[]), to: told(want) },
      apply: () => put(context, phase, want),
    },
  ];
}

/** Asks Cloudflare for its judgement first; others' rules are read anew, since they may have changed since the plan. */
async function put(context: Context, phase: Phase, want: Rule[]): Promise<void> {
  const { api, zoneId } = context;
  const foreign = (await read(context, phase)).filter((one) => !isOurs(one)).map(sendable);
  const body = { zone_id: zoneId, rules: [...want, ...foreign] } as Parameters<typeof api.rulesets.phases.update>[1];
  await asked(`trying ${phase}`, permissions, api.rulesets.phases.update(phase, { ...body, dry_run: true }));
  await asked(`setting ${phase}`, permissions, api.rulesets.phases.update(phase, body));
}

import { randomUUID } from 'node:crypto';
import { misfit } from './judge.ts';

/** What plans have, of Cloudflare's pages: waf/custom-rules and waf/rate-limiting-rules, Availability. */
const PLANS: Record<
  string,
  { custom: number; limits: number; regex: boolean; log: boolean; periods: number[]; sets: string[] }
> = {
  free: { custom: 5, limits: 1, regex: false, log: false, periods: [10], sets: ['77454fe2d30c4220b5701f6fdfb893ba'] },
  pro: {
    ...{ custom: 20, limits: 2, regex: false, log: false, periods: [10, 15, 20, 30, 40, 45, 60] },
    sets: ['efb7b8c949ac4650a09736fc376e9aee', '4814384a9e5d4991b9815dcfc25d2f1f'],
  },
};

export type StoredRule = Record<string, unknown> & { id: string; ref: string };

export interface PhaseBody {
  rules?: (Record<string, unknown> & {
    id?: string;
    ref?: string;
    ratelimit?: { period: number; mitigation_timeout: number };
  })[];
}

/** Why Cloudflare wouldn't take a phase; undefined where it would. */
export function refusal(plan: string, phase: string, zoneId: string, body: PhaseBody): string | undefined {
  const has = PLANS[plan] as (typeof PLANS)[string];
  const form = misfit('phase', { zone_id: zoneId, ...body });
  if (form) return form;
  const rules = body.rules ?? [];
  if (phase === 'http_request_firewall_custom' && rules.length > has.custom)
    return `exceeded maximum number of rules: ${has.custom}`;
  if (phase === 'http_ratelimit' && rules.length > has.limits) return `exceeded maximum number of rules: ${has.limits}`;
  const refs = rules.flatMap(({ ref }) => ref ?? []);
  if (new Set(refs).size < refs.length) return 'ref must be unique';
  for (const { expression, action, ratelimit, action_parameters } of rules) {
    if (
      typeof expression !== 'string' ||
      (expression.match(/\(/g) ?? []).length !== (expression.match(/\)/g) ?? []).length
    )
      return `the expression can't be parsed: ${expression}`;
    if (!has.regex && / matches /.test(expression)) return 'not entitled: the use of operator Matches is not allowed';
    if (!has.log && action === 'log') return 'not entitled: log action';
    if (phase === 'http_ratelimit' && !ratelimit) return 'ratelimit is missing';
    if (
      ratelimit &&
      (!has.periods.includes(ratelimit.period) || (plan === 'free' && ratelimit.mitigation_timeout !== 10))
    )
      return `not entitled to use the period ${ratelimit.period}, can only use one of ${has.periods}`;
    const set = (action_parameters as { id?: string } | undefined)?.id;
    if (action === 'execute' && (!set || !has.sets.includes(set))) return `not entitled to the ruleset ${set}`;
  }
  return undefined;
}

/** As it is kept: each rule has an ID that stays with its ref, and a version that doesn't. */
export function stored(before: StoredRule[], { rules = [] }: PhaseBody): StoredRule[] {
  return rules.map((rule) => {
    const id = rule.id ?? before.find(({ ref }) => ref === rule.ref)?.id ?? randomUUID().replaceAll('-', '');
    const version = String(Number(before.find((one) => one.id === id)?.version ?? 0) + 1);
    // Of a managed set it says which version it takes.
    const parameters = rule.action === 'execute' && {
      action_parameters: { ...(rule.action_parameters as object), version: 'latest' },
    };
    return {
      enabled: true,
      ...rule,
      ...parameters,
      id,
      ref: rule.ref ?? id,
      version,
      last_updated: new Date().toISOString(),
    };
  });
}

import { inputError } from '../process/errors.ts';

/**
 * What a zone's plan has: https://developers.cloudflare.com/waf/custom-rules/#availability,
 * https://developers.cloudflare.com/waf/rate-limiting-rules/#availability, https://developers.cloudflare.com/waf/managed-rules/,
 * https://developers.cloudflare.com/waf/tools/lists/#availability.
 */
export interface Limits {
  plan: 'free' | 'pro' | 'business' | 'enterprise';
  customRules: number;
  /** In an expression: the `matches` operator. */
  regex: boolean;
  rateLimits: number;
  /** Seconds over which a rate may be counted, and for which it may then pause. */
  periods: number[];
  pauses: number[];
  managed: boolean;
  /** Of the account's, of all kinds. */
  lists: number;
  /** Fields that a rate limit's expression may ask about; undefined: all. */
  rateFields?: string[];
}

/** Seconds; the values that there are, of which a plan has those up to a limit. */
const SUPPORTED = [
  ...[10, 15, 20, 30, 40, 45, 60, 90, 120, 180, 240, 300, 480, 600, 900, 1200, 1800, 2400, 3600],
  ...[65_535, 86_400],
];
const upTo = (seconds: number) => SUPPORTED.filter((value) => value <= seconds);

/** Availability, "Available fields in rule expression": https://developers.cloudflare.com/waf/rate-limiting-rules/#availability */
const FREE_FIELDS = ['http.request.uri.path', 'cf.client.bot'];
const PRO_FIELDS = [...FREE_FIELDS, 'http.host', 'http.request.uri', 'http.request.full_uri', 'http.request.uri.query'];

const PLANS: Record<Limits['plan'], Omit<Limits, 'plan'>> = {
  free: {
    customRules: 5,
    regex: false,
    rateLimits: 1,
    periods: [10],
    pauses: [10],
    managed: false,
    lists: 1,
    rateFields: FREE_FIELDS,
  },
  pro: {
    customRules: 20,
    regex: false,
    rateLimits: 2,
    periods: upTo(60),
    pauses: upTo(3600),
    managed: true,
    lists: 10,
    rateFields: PRO_FIELDS,
  },
  business: {
    customRules: 100,
    regex: true,
    rateLimits: 5,
    periods: upTo(600),
    pauses: upTo(86_400),
    managed: true,
    lists: 10,
  },
  enterprise: {
    ...{ customRules: 1000, regex: true, rateLimits: 100, managed: true, lists: 1000 },
    ...{ periods: upTo(65_535), pauses: upTo(86_400) },
  },
};

/** @param plan as the API names it (`plan.legacy_id`). @throws BuildError (input) for another. */
export function limitsOf(plan: string | undefined): Limits {
  const limits = PLANS[plan as Limits['plan']];
  if (!limits)
    throw inputError(
      'edge',
      `the zone has a plan that isn't known here: ${plan}`,
      `known: ${Object.keys(PLANS).join(', ')}`,
    );
  return { plan: plan as Limits['plan'], ...limits };
}

/** @throws BuildError (input) that says what the plan has. */
export function need(limits: Limits, holds: boolean, what: string): void {
  if (!holds)
    throw inputError(
      'edge',
      `${what}: the zone's plan (${limits.plan}) doesn't have that`,
      'nothing was changed; change zone.yaml, or the plan',
    );
}

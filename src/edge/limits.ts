import { inputError } from '../process/errors.ts';

/**
 * What a zone's plan has: https://developers.cloudflare.com/waf/custom-rules/#availability,
 * https://developers.cloudflare.com/waf/rate-limiting-rules/#availability, https://developers.cloudflare.com/waf/managed-rules/.
 */
export interface Limits {
  plan: 'free' | 'pro' | 'business' | 'enterprise';
  customRules: number;
  /** In an expression: the `matches` operator. */
  regex: boolean;
  rateLimits: number;
  /** Seconds. */
  periods: number[];
  pauses: number[];
  managed: boolean;
}

const MINUTE = [10, 60];
const BUSINESS_PAUSES = [10, 60, 120, 300, 600, 3600, 86_400];
const PLANS: Record<Limits['plan'], Omit<Limits, 'plan'>> = {
  free: { customRules: 5, regex: false, rateLimits: 1, periods: [10], pauses: [10], managed: false },
  pro: {
    customRules: 20,
    regex: false,
    rateLimits: 2,
    periods: MINUTE,
    pauses: [10, 60, 120, 300, 600, 3600],
    managed: true,
  },
  business: {
    ...{ customRules: 100, regex: true, rateLimits: 5, managed: true },
    ...{ periods: [...MINUTE, 120, 300, 600], pauses: BUSINESS_PAUSES },
  },
  enterprise: {
    ...{ customRules: 1000, regex: true, rateLimits: 100, managed: true },
    ...{ periods: [...MINUTE, 120, 300, 600, 3600], pauses: BUSINESS_PAUSES },
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

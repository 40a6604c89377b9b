import { type Body, judged, kept, newId, Refusal, type Row, removed } from './state.ts';

/** Of an account. */
export interface FakeAccess {
  apps: Map<string, Row>;
  policies: Map<string, Row>;
}

/** `/accounts/…/access/apps`. */
export function application(
  { apps, policies }: FakeAccess,
  account_id: string,
  method: string,
  id: string | undefined,
  body: Body,
) {
  if (method === 'GET') return [...apps.values()];
  if (method === 'DELETE') return removed(apps, id);
  judged('application', { account_id, ...body });
  const known = (body.policies as { id: string }[] | undefined)?.map((link) => policies.get(link.id));
  if (known?.includes(undefined)) throw new Refusal(400, 12_130, 'access.api.error.invalid_request: policy not found');
  return kept(apps, method, id, { aud: newId() + newId(), ...body });
}

/** `/accounts/…/access/policies`. */
export function policy(
  { apps, policies }: FakeAccess,
  account_id: string,
  method: string,
  id: string | undefined,
  body: Body,
) {
  if (method === 'GET') return [...policies.values()];
  if (method === 'DELETE') {
    const used = [...apps.values()].some((app) =>
      (app.policies as { id: string }[] | undefined)?.some((one) => one.id === id),
    );
    if (used) throw new Refusal(409, 12_132, 'access.api.error.conflict: policy is in use');
    return removed(policies, id);
  }
  judged('policy', { account_id, ...body });
  return kept(policies, method, id, { exclude: [], require: [], ...body });
}

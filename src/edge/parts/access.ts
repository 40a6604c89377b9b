import { BuildError } from '../../process/errors.ts';
import { all, asked, permitted } from '../api.ts';
import { type Change, type Context, MARK, type Part, same } from '../change.ts';

const permissions = ['Access: Apps and Policies: Edit'];

/**
 * Who may sign in: a policy and an application, ours by their names; of one account several zones may be ours. The auth proxy checks what
 * Access says, and whose instance it is.
 */
export const access: Part = {
  name: 'Access',
  permissions,
  changes: async (context) => {
    const { zone } = context;
    if (!zone.access) return removal(context);
    const { domain, allow, session } = zone.access;
    const [policy, ...policies] = await listPolicies(context);
    const [app, ...apps] = await listApps(context);
    const people = [...allow].sort();
    const wanted = { ...APP, domain, session, destinations: [domain], policies: [policy?.id ?? 'the new one'] };
    const changes: Change[] = [];
    if (!policy || !same(policy.people, people)) changes.push(setPolicy(context, policy, people));
    if (!app || !same(app.told, wanted)) changes.push(setApp(context, app, wanted));
    return [
      ...changes,
      ...apps.map((one) => removeApp(context, one)),
      ...policies.map((one) => removePolicy(context, one)),
    ];
  },
  removal,
};

/** A token that may not see any has made none. */
async function removal(context: Context): Promise<Change[]> {
  const { api, accountId: account_id } = context;
  const there = await permitted(all(api.zeroTrust.access.applications.list({ account_id })));
  if (there === undefined) return [];
  const [apps, policies] = [await listApps(context), await listPolicies(context)];
  return [...apps.map((one) => removeApp(context, one)), ...policies.map((one) => removePolicy(context, one))];
}

const nameOf = ({ zone }: Context) => `${MARK}: ${zone.zone}`;

interface Policy {
  id: string;
  /** Addresses; anything else that lets somebody in is told as what it is. */
  people: string[];
}

async function listPolicies(context: Context): Promise<Policy[]> {
  const { api, accountId: account_id } = context;
  const there = await asked(
    'reading Access policies',
    permissions,
    all(api.zeroTrust.access.policies.list({ account_id })),
  );
  return there.flatMap((one) => {
    const { id, name, decision, include, exclude, require } = one;
    if (!id || name !== nameOf(context)) return [];
    const people = (include ?? []).map((rule) => ('email' in rule && rule.email?.email) || JSON.stringify(rule));
    const odd = [...(exclude ?? []), ...(require ?? [])].map((rule) => JSON.stringify(rule));
    return [{ id, people: [...people, ...odd, ...(decision === 'allow' ? [] : [`${decision}`])].sort() }];
  });
}

interface App {
  id: string;
  told: {
    domain: string | undefined;
    session: string | undefined;
    policies: (string | undefined)[];
    destinations: (string | undefined)[];
  } & Record<keyof typeof APP, unknown>;
}

/** What every application of ours is like. The session's cookie is for no script, and for no other site's request. */
const APP = {
  app_launcher_visible: false,
  http_only_cookie_attribute: true,
  same_site_cookie_attribute: 'lax',
  options_preflight_bypass: false,
  allowed_idps: [] as string[],
};

async function listApps(context: Context): Promise<App[]> {
  const { api, accountId: account_id } = context;
  const there = await asked(
    'reading Access applications',
    permissions,
    all(api.zeroTrust.access.applications.list({ account_id })),
  );
  return there.flatMap((one) => {
    const { id, name, domain, session_duration, policies, destinations, self_hosted_domains, ...rest } = one as {
      id?: string;
      name?: string;
      domain?: string;
      session_duration?: string;
      policies?: { id?: string }[];
      destinations?: { uri?: string }[];
      self_hosted_domains?: string[];
    } & Partial<typeof APP>;
    if (!id || name !== nameOf(context)) return [];
    const told = {
      ...{ domain, session: session_duration, policies: (policies ?? []).map((policy) => policy.id) },
      destinations: destinations?.map(({ uri }) => uri) ?? self_hosted_domains ?? [domain],
      ...{
        app_launcher_visible: rest.app_launcher_visible,
        http_only_cookie_attribute: rest.http_only_cookie_attribute,
      },
      same_site_cookie_attribute: rest.same_site_cookie_attribute,
      // What Cloudflare leaves out is off.
      options_preflight_bypass: rest.options_preflight_bypass ?? false,
      allowed_idps: rest.allowed_idps ?? [],
    };
    return [{ id, told }];
  });
}

function setPolicy(context: Context, policy: Policy | undefined, people: string[]): Change {
  const { api, accountId: account_id } = context;
  const body = {
    account_id,
    name: nameOf(context),
    decision: 'allow' as const,
    include: people.map((email) => ({ email: { email } })),
  };
  const { policies } = api.zeroTrust.access;
  return {
    ...{
      what: policy ? 'update' : 'create',
      name: `Access policy ${nameOf(context)}`,
      from: policy?.people,
      to: people,
    },
    apply: () =>
      asked(
        'setting the Access policy',
        permissions,
        policy ? policies.update(policy.id, body) : policies.create(body),
      ),
  };
}

function setApp(context: Context, app: App | undefined, to: App['told']): Change {
  const { api, accountId: account_id } = context;
  const { applications } = api.zeroTrust.access;
  return {
    ...{ what: app ? 'update' : 'create', name: `Access application ${nameOf(context)}`, from: app?.told, to },
    apply: async () => {
      const [policy] = await listPolicies(context);
      if (!policy)
        throw new BuildError('edge', 'the Access policy is gone', 'somebody else may be changing the zone: plan again');
      const body = {
        ...{ account_id, type: 'self_hosted' as const, name: nameOf(context), domain: to.domain as string },
        ...{
          session_duration: to.session as string,
          destinations: [{ type: 'public' as const, uri: to.domain as string }],
        },
        ...APP,
        policies: [{ id: policy.id, precedence: 1 }],
      };
      await asked(
        'setting the Access application',
        permissions,
        app ? applications.update(app.id, body) : applications.create(body),
      );
    },
  };
}

function removeApp(context: Context, { id, told }: App): Change {
  const { api, accountId: account_id } = context;
  return {
    ...{ what: 'delete', name: `Access application ${nameOf(context)}`, from: told },
    apply: () =>
      asked(
        'removing the Access application',
        permissions,
        api.zeroTrust.access.applications.delete(id, { account_id }),
      ),
  };
}

function removePolicy(context: Context, { id, people }: Policy): Change {
  const { api, accountId: account_id } = context;
  return {
    ...{ what: 'delete', name: `Access policy ${nameOf(context)}`, from: people },
    apply: () =>
      asked('removing the Access policy', permissions, api.zeroTrust.access.policies.delete(id, { account_id })),
  };
}

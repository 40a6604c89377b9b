import { LABELS } from '../cloud.ts';
import type { Opening } from '../machines.ts';
import type { HetznerApi, Rule } from './api.ts';
import { hasCode } from './errors.ts';
import { LAUNCHED } from './labels.ts';
import type { Firewall } from './schemas.ts';

/**
 * "If you don't define any rules here, all inbound traffic will be dropped", and all outbound is let through:
 * https://docs.hetzner.com/cloud/firewalls/faq. Rules only ever let in.
 */
export function firewallsOf(api: HetznerApi, run: string): Promise<Firewall[]> {
  return api.call(`looking for the firewall of ${run}`, () => api.firewalls(`${LAUNCHED},${LABELS.run}==${run}`));
}

/** The closed firewall of a launch; one that an interrupted start has made is taken, and closed again. */
export async function closedFirewall(api: HetznerApi, run: string, labels: Record<string, string>): Promise<Firewall> {
  const name = `clawdy-${run}`;
  const firewall = await api.call(`creating firewall ${name}`, async () => {
    // The answer may have been lost, in this run or before.
    const [made] = await api.firewalls(`${LAUNCHED},${LABELS.run}==${run}`);
    return made ?? (await api.createFirewall(name, labels));
  });
  if (firewall.rules.length > 0) await letIn(api, firewall.id, []);
  return firewall;
}

/** Sets the whole of the rules, and returns when they are in force. */
export async function letIn(api: HetznerApi, firewall: number, openings: Opening[]): Promise<void> {
  const what = `setting the rules of firewall ${firewall}`;
  await api.call(what, async () => api.wait(what, ...(await api.setRules(firewall, openings.flatMap(rulesOf)))));
}

/** "You can specify 100 CIDR blocks at most": https://docs.hetzner.cloud/reference/cloud#firewall-actions-set-rules */
const CIDRS_IN_A_RULE = 100;

/** None for an opening that lets nobody in: a rule without sources is refused. */
function rulesOf({ port, to, sources }: Opening): Rule[] {
  const ports = to === undefined || to === port ? String(port) : `${port}-${to}`;
  const count = Math.ceil(sources.length / CIDRS_IN_A_RULE);
  return Array.from({ length: count }, (_, part) => ({
    direction: 'in',
    protocol: 'tcp',
    port: ports,
    source_ips: sources.slice(part * CIDRS_IN_A_RULE, (part + 1) * CIDRS_IN_A_RULE),
  }));
}

/**
 * Deletes a firewall. Hetzner takes some seconds to see that a deleted server doesn't use it any more, now and then longer
 * (https://github.com/hetznercloud/terraform-provider-hcloud/pull/401).
 * @param limitMs until it is given up. @throws BuildError
 */
export async function dropFirewall(api: HetznerApi, id: number, limitMs: number): Promise<void> {
  const what = `deleting firewall ${id}, which Hetzner says is in use`;
  const drop = async () => {
    try {
      await api.deleteFirewall(id);
      return true;
    } catch (error) {
      if (hasCode(error, 'resource_in_use')) return undefined;
      throw error;
    }
  };
  await api.until(what, () => api.call(`deleting firewall ${id}`, drop), limitMs);
}

import type { Cloudflare } from 'cloudflare';
import { type Check, guarded } from '../doctor/check.ts';
import { openZone, PARTS } from './apply.ts';

/** Whether the token may read what zone.yaml speaks of, part by part; that it may write shows when something is applied. */
export async function zoneChecks(api: Cloudflare, file: string): Promise<Check[]> {
  const fix = 'give the token what docs/edge-zone.md lists';
  const checks: Check[] = [];
  let context: Awaited<ReturnType<typeof openZone>> | undefined;
  checks.push(
    await guarded('Zone: Read', fix, async () => {
      context = await openZone(api, file);
      return { name: 'Zone: Read', ok: true, fix, found: `${context.zone.zone}, plan ${context.limits.plan}` };
    }),
  );
  if (!context) return checks;
  const opened = context;
  for (const { name, permissions, changes } of PARTS)
    checks.push(
      await guarded(`${name} (${permissions.join(', ')})`, fix, async () => {
        const { length } = await changes(opened);
        return { name: `${name} (${permissions.join(', ')})`, ok: true, fix, found: `read; ${length} to change` };
      }),
    );
  return checks;
}

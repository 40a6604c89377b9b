import { join, resolve } from 'node:path';
import { GATE_HEADERS } from '../contract/gate.ts';
import { shellQuote } from '../process/run.ts';
import { machineDir } from './places.ts';
import type { InstanceRecord } from './records.ts';

/** `npm run -s launch`, from any folder. */
const LAUNCH = `npm --prefix ${shellQuote(resolve(import.meta.dirname, '../..'))} run -s launch --`;

/** What `launch --json` prints, and scripts rely on. */
export function publicView({ cloud, instance_id, address, ssh, gate_url, image_id }: InstanceRecord) {
  const { user, port, host_key } = ssh;
  return { cloud, instance_id, address, ssh: { user, port, host_key }, gate_url, image_id };
}

/** A line for a shell that logs in, and believes no other host than this instance. */
export function sshLine({ instance_id, address, ssh }: InstanceRecord): string {
  const known = join(machineDir(instance_id), 'known_hosts');
  const key = ssh.identity_file ? ['-i', percent(ssh.identity_file), '-o', 'IdentitiesOnly=yes'] : [];
  // In quotes of its own: the option takes several files.
  const pinned = ['-o', `UserKnownHostsFile="${percent(known)}"`, '-o', 'StrictHostKeyChecking=yes'];
  return ['ssh', '-p', String(ssh.port), ...key, ...pinned, `${ssh.user}@${address}`].map(shellQuote).join(' ');
}

/** A path in which ssh finds no token: ssh_config(5). */
const percent = (path: string) => path.replaceAll('%', '%%');

/** A line for a shell that asks OpenClaw through the gate. The code goes by a pipe, never into arguments. */
export function curlLine(record: InstanceRecord): string | undefined {
  const { instance_id, gate_url, client_certificate, client_key, user } = record;
  if (!gate_url || !client_certificate || !client_key) return undefined;
  const tls = [
    '--cacert',
    join(machineDir(instance_id), 'gate.crt'),
    '--cert',
    client_certificate,
    '--key',
    client_key,
  ];
  // Whatever https_proxy says: another computer's localhost isn't ours.
  const direct = ['--noproxy', new URL(gate_url).hostname];
  const headers = ['-H', '@-', '-H', `${GATE_HEADERS.user}: ${user}`];
  return `${LAUNCH} header ${instance_id} | ${['curl', ...direct, ...tls, ...headers, gate_url].map(shellQuote).join(' ')}`;
}

/**
 * The summary that a person reads.
 * @param live whether 443 is known to be open.
 */
export function renderLaunched(record: InstanceRecord, live = true): string {
  const { instance_id, address, ssh, gate_url } = record;
  const curl = curlLine(record);
  return [
    `${instance_id} runs. SSH: ${address} port ${ssh.port}. ${gate_url ? `Gate: ${gate_url}` : 'No gate in this image.'}`,
    `  log in   ${sshLine(record)}`,
    ...(curl ? [`  ask      ${curl}`] : []),
    ...(curl && !live
      ? ['           (answered only once 443 opens: when OpenClaw runs and the live check has passed)']
      : []),
    `  end      ${LAUNCH} destroy ${instance_id}`,
    '',
  ].join('\n');
}

/** @param running whether its machine runs, in the records' order; null where that isn't seen. */
export function renderTable(records: InstanceRecord[], running: (boolean | null)[]): string {
  if (!records.length) return 'no instances; npm run launch makes one\n';
  const rows = [
    ['INSTANCE', 'STATE', 'SSH', 'GATE', 'IMAGE', 'CREATED'],
    ...records.map((record, index) => [
      record.instance_id,
      running[index] === null ? 'elsewhere' : running[index] ? 'runs' : 'off',
      `${record.address}:${record.ssh.port}`,
      record.gate_url ?? '-',
      record.image_id,
      record.created,
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

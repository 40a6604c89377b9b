import { join } from 'node:path';
import { GATE_HEADERS } from '../contract/gate.ts';
import { shellQuote } from '../process/run.ts';
import { machineDir } from './places.ts';
import type { InstanceRecord } from './records.ts';

/** What `launch --json` prints, and scripts rely on. */
export function publicView({ cloud, instance_id, address, ssh, gate_url, image_id }: InstanceRecord) {
  const { user, port, host_key } = ssh;
  return { cloud, instance_id, address, ssh: { user, port, host_key }, gate_url, image_id };
}

/** A line for a shell that logs in, and believes no other host than this instance. */
export function sshLine({ instance_id, address, ssh }: InstanceRecord): string {
  const known = join(machineDir(instance_id), 'known_hosts');
  const key = ssh.identity_file ? ['-i', ssh.identity_file, '-o', 'IdentitiesOnly=yes'] : [];
  const pinned = ['-o', `UserKnownHostsFile=${known}`, '-o', 'StrictHostKeyChecking=yes'];
  return ['ssh', '-p', String(ssh.port), ...key, ...pinned, `${ssh.user}@${address}`].map(shellQuote).join(' ');
}

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
  const curl = ['curl', ...tls, '-H', '@-', '-H', `${GATE_HEADERS.user}: ${user}`, gate_url].map(shellQuote);
  return `npm run -s launch -- header ${instance_id} | ${curl.join(' ')}`;
}

/** The summary that a person reads. */
export function renderLaunched(record: InstanceRecord): string {
  const { instance_id, address, ssh, gate_url } = record;
  const curl = curlLine(record);
  return [
    `${instance_id} runs. SSH: ${address} port ${ssh.port}. ${gate_url ? `Gate: ${gate_url}` : 'No gate in this image.'}`,
    `  log in   ${sshLine(record)}`,
    ...(curl ? [`  ask      ${curl}`] : []),
    `  stop     npm run -s launch -- stop ${instance_id}`,
    '',
  ].join('\n');
}

/** @param running whether its machine runs, in the records' order. */
export function renderTable(records: InstanceRecord[], running: boolean[]): string {
  if (!records.length) return 'no instances; npm run launch makes one\n';
  const rows = [
    ['INSTANCE', 'STATE', 'SSH', 'GATE', 'IMAGE', 'CREATED'],
    ...records.map((record, index) => [
      record.instance_id,
      running[index] ? 'runs' : 'off',
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

import type { Bundle } from '../contract/enrolment.ts';
import { checkHostKey } from './local/host-key.ts';
import { encryptTo } from './operator.ts';
import { type InstanceRecord, writeRecord } from './records.ts';

/** What of an instance that was launched by other means its bundle doesn't say. */
export interface Elsewhere {
  /** As the cloud calls it. */
  instance: string;
  /** Where it is, as the cloud says. */
  address: string;
  /** Whom the gate is told. */
  user: string;
  /** The operator's age recipient: the code is kept encrypted to it. */
  recipient: string;
  /** File of the operator's private key for the channel, where launch.json has its public half. */
  opsKey: string | null;
}

/**
 * Looks whether the address shows the host key of the bundle, and keeps a record: operators' commands know the instance from then on.
 * @throws BuildError where another key, or nothing, answers there; nothing is kept then.
 */
export async function recordElsewhere(bundle: Bundle, where: Elsewhere): Promise<InstanceRecord> {
  const { instance, address, user, recipient, opsKey } = where;
  const { port, hostKeys } = bundle.ssh;
  const [hostKey] = hostKeys as [string];
  await checkHostKey(address, port, hostKey);
  const record: InstanceRecord = {
    ...{ version: 1, cloud: 'other', instance_id: instance, launch_id: bundle.launchId, image_id: bundle.imageId },
    ...{ created: new Date().toISOString(), address, user },
    ssh: { user: 'clawdy', port, host_key: hostKey, guest_port: port, identity_file: null },
    ...{ ops_identity_file: opsKey, instance_key: bundle.instanceKey ?? null, instance_key_next: null },
    // The gate is the auth proxy's to ask: nobody here has a certificate that it lets in.
    ...{ gate_url: null, client_certificate: null, client_key: null },
    gate_certificate: bundle.gate?.certificate ?? null,
    code_encrypted: await encryptTo(recipient, bundle.code),
    ...{ qemu: null, disk: null, region: null, run: null, launch: null, replaces: null, retired: false },
  };
  writeRecord(record);
  return record;
}

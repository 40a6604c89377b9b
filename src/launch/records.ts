import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { AGENT, SSH_PORTS } from '../contract/box.ts';
import { LAUNCH_ID } from '../contract/enrolment.ts';
import { BuildError, inputError } from '../process/errors.ts';
import { frontSchema, learningSchema } from './front.ts';
import { checkId, INSTANCE_ID, instancesDir } from './places.ts';
import { writeWhole } from './write-once.ts';

const absolute = z.string().refine(isAbsolute, 'must be an absolute path');
const port = z.number().int().min(1).max(65_535);

/** What is known of an instance that was launched. Holds no secret in the clear. */
const recordSchema = z
  .strictObject({
    version: z.literal(1),
    /** `other`: launched by other means, and enrolled at the auth proxy. */
    cloud: z.enum(['local', 'aws', 'hetzner', 'other']),
    /** Where it runs, as its cloud names it, and the label of all that was made for it there; null of local and others. */
    region: z.string().nullable().default(null),
    run: z.string().nullable().default(null),
    /** What its launch was given: a replacement gets the same. Null in records of before, and of others. */
    launch: z
      .strictObject({
        size: z.string().nullable(),
        user_keys: z.array(z.string()),
        front: frontSchema.nullable(),
        learning: learningSchema.default({ by: 'console' }),
      })
      .nullable()
      .default(null),
    /** The instance that it took the place of. */
    replaces: z.string().regex(INSTANCE_ID).nullable().default(null),
    /** It was gone back from: nothing is done with it any more but to look, and to destroy it. */
    retired: z.boolean().default(false),
    instance_id: z.string().regex(INSTANCE_ID, "isn't an instance's ID"),
    launch_id: z.string().regex(LAUNCH_ID),
    image_id: z.string().min(1),
    created: z.iso.datetime(),
    /** Where its ports are. */
    address: z.string().min(1),
    ssh: z.strictObject({
      user: z.literal(AGENT.name),
      port,
      /** As in a known_hosts file, without the host: from the bundle, and seen on the port. */
      host_key: z.string().startsWith('ssh-ed25519 '),
      /** The port inside, at which the bundle says sshd listens. */
      guest_port: z.number().int().min(SSH_PORTS.first).max(SSH_PORTS.last),
      /** The private key that goes with the one in launch.json, where it is known. */
      identity_file: absolute.nullable(),
    }),
    /** The operator's private key for the channel; null in records of before there was one. */
    ops_identity_file: absolute.nullable().default(null),
    /** PEM, from the bundle: what the instance says about itself is signed with the private half. */
    instance_key: z.string().startsWith('-----BEGIN PUBLIC KEY-----').nullable().default(null),
    /** The one that takes its place, from when the box has named it until it is known to count. */
    instance_key_next: z.string().startsWith('-----BEGIN PUBLIC KEY-----').nullable().default(null),
    /** Without the gate in the image, null; so are the next three. */
    gate_url: z.url().nullable(),
    /** PEM; the gate shows this very one. */
    gate_certificate: z.string().nullable(),
    client_certificate: absolute.nullable(),
    client_key: absolute.nullable(),
    /** Whom the gate is told, and OpenClaw takes for an administrator. */
    user: z.string().min(1),
    /** The auth code, encrypted to the operator, in age's armor. */
    code_encrypted: z.string().startsWith('-----BEGIN AGE ENCRYPTED FILE-----'),
    /** Of a local one; null of others. */
    qemu: z
      .strictObject({
        pid: z.number().int().positive(),
        start_ticks: z.number().int().nonnegative(),
        boot_id: z.string().min(1),
        qmp: absolute,
      })
      .nullable(),
    /** An overlay; what is under it is the image's. Null as qemu. */
    disk: absolute.nullable(),
  })
  .refine(({ cloud, qemu, disk }) => cloud !== 'local' || (qemu && disk), 'a local one has a machine and a disk');

export type InstanceRecord = z.output<typeof recordSchema>;

function recordFile(id: string): string {
  return join(instancesDir(), `${checkId(id)}.json`);
}

/** Writes it whole or not at all, for the owner only. */
export function writeRecord(record: InstanceRecord): void {
  const checked = recordSchema.parse(record);
  writeWhole(recordFile(checked.instance_id), `${JSON.stringify(checked, null, 2)}\n`, 'always');
}

/** @throws BuildError (input) when there is none, or it can't be read; the file stays as it is. */
export function readRecord(id: string): InstanceRecord {
  const file = recordFile(id);
  if (!existsSync(file)) {
    throw inputError('instances', `no instance is called ${id}`, 'npm run -s launch -- list');
  }
  let document: unknown;
  try {
    document = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw unreadable(file, error instanceof Error ? error.message : String(error));
  }
  const parsed = recordSchema.safeParse(document);
  if (!parsed.success) throw unreadable(file, z.prettifyError(parsed.error));
  if (parsed.data.instance_id !== id) throw unreadable(file, `it is of instance ${parsed.data.instance_id}`);
  return parsed.data;
}

function unreadable(file: string, why: string): BuildError {
  return inputError(
    'instances',
    `${file} can't be read: ${why}`,
    'nothing was changed; put back the file, or move it away',
  );
}

/** All records, oldest first, and an error for each that can't be read. */
export function listRecords(): { records: InstanceRecord[]; faults: BuildError[] } {
  const records: InstanceRecord[] = [];
  const faults: BuildError[] = [];
  for (const name of readdirSync(instancesDir()).sort()) {
    if (!name.endsWith('.json') || name.startsWith('.')) continue;
    const id = name.slice(0, -'.json'.length);
    if (!INSTANCE_ID.test(id)) {
      faults.push(unreadable(join(instancesDir(), name), "its name isn't an instance's ID"));
      continue;
    }
    try {
      records.push(readRecord(id));
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      faults.push(error);
    }
  }
  records.sort((a, b) => a.created.localeCompare(b.created));
  return { records, faults };
}

/** Changes what is on file now, which others may have changed since it was read. @throws BuildError (input) as readRecord does. */
export function amendRecord(id: string, change: Partial<InstanceRecord>): void {
  writeRecord({ ...readRecord(id), ...change });
}

export function removeRecord(id: string): void {
  rmSync(recordFile(id), { force: true });
}

/** Whether there is one, also one that can't be read. */
export function hasRecord(id: string): boolean {
  return existsSync(recordFile(id));
}

/**
 * Whether a launch has accepted a bundle: it then has a record, until `stop`, and accepts no other.
 * @throws BuildError (input) when a record can't be read: it could be that launch's.
 */
export function isTaken(launchId: string): boolean {
  const { records, faults } = listRecords();
  if (records.some(({ launch_id }) => launch_id === launchId)) return true;
  const [fault] = faults;
  if (fault) throw inputError('enrolment', `a bundle could be a replay: ${fault.message}`, fault.hint);
  return false;
}

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { armor, Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { inputError } from '../process/errors.ts';
import { requirePrivate } from '../process/private-file.ts';
import { operatorFile } from './places.ts';
import { writeWhole } from './write-once.ts';

/** Whoever launches: instances seal their bundles to `recipient`, and codes are kept encrypted to it. */
export interface Operator {
  identity: string;
  recipient: string;
}

const LOST = 'put back its backup; without it the codes of instances that run are lost: stop them and launch anew';

/**
 * The operator's age key, made at first use, in the form of age-keygen(1).
 * @throws BuildError (input) as readOperator does.
 */
export async function loadOperator(): Promise<Operator> {
  const file = operatorFile();
  if (!existsSync(file)) {
    const identity = await generateX25519Identity();
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const recipient = await identityToRecipient(identity);
    // Of two first uses at once, one makes it and both read it.
    writeWhole(file, `# created: ${new Date().toISOString()}\n# public key: ${recipient}\n${identity}\n`, 'absent');
  }
  return readOperator();
}

/**
 * The operator's age key, never made: a new one opens nothing that was encrypted to the old.
 * @throws BuildError (input) when the file isn't there, others may read it, or it holds no X25519 identity.
 */
export async function readOperator(): Promise<Operator> {
  const file = operatorFile();
  if (!existsSync(file)) throw inputError('operator', `your key ${file} isn't there`, LOST);
  requirePrivate('operator', file, 'your key');
  const identities = readFileSync(file, 'utf8').match(/^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/gm) ?? [];
  const identity = identities[0];
  if (!identity || identities.length > 1) {
    throw inputError('operator', `${file} holds ${identities.length} age identities, one is wanted`, LOST);
  }
  return { identity, recipient: await identityToRecipient(identity) };
}

/** @returns age's armor: text. */
export async function encryptTo(recipient: string, secret: string): Promise<string> {
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return armor.encode(await encrypter.encrypt(secret));
}

/** @throws BuildError (input) when it isn't this operator's. */
export async function decryptWith(identity: string, armored: string): Promise<string> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    return await decrypter.decrypt(armor.decode(armored), 'text');
  } catch {
    throw inputError(
      'operator',
      `the code isn't encrypted to the key in ${operatorFile()}`,
      'use the key with which the instance was launched',
    );
  }
}

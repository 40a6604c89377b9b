import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../process/run.ts';

/**
 * Days that the client certificate and its CA are good for: an instance is replaced by a newer image long before.
 * 398 is what the web's own rules allowed a certificate at most (CA/Browser Forum ballot SC31).
 */
const DAYS = '398';

const CONFIG = `
[req]
distinguished_name = name
prompt = no
[name]
CN = clawdy local
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
`;

/** What opens the gate's TLS, beside the code: files of the owner's alone. */
export interface ClientCa {
  /** Path of the client's certificate, PEM. */
  certificate: string;
  /** Path of its key. */
  key: string;
  /** The CA's certificate as launch.json wants it: DER in base64. */
  caDer: string;
}

/** A further certificate of the same CA, which no gate may take: tests show it. */
export interface Unfit {
  /** Its files are NAME.crt and NAME.key. */
  name: string;
  /** A section of the configuration. */
  extensions: 'client' | 'server';
  /** Negative: it has expired. */
  days: string;
}

/**
 * Makes a client certificate, P-256, and the CA that the gate of one instance is told to trust. The CA's key is gone
 * afterwards: nothing else is ever issued by it.
 * @param dir an instance's own folder.
 */
export async function makeClientCa(dir: string, unfit: Unfit[] = []): Promise<ClientCa> {
  const file = (name: string) => join(dir, name);
  const config = file('client.cnf');
  writeFileSync(config, CONFIG, { mode: 0o600 });
  const openssl = (...args: string[]) =>
    run('openssl', args, { step: 'client certificate', hint: 'is openssl installed? apt install openssl' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-sha256', '-config', config];
  const caKey = file('client-ca.key');
  const serial = () => `0x${randomBytes(16).toString('hex').replace(/^./, '4')}`;
  try {
    await openssl(
      ...['req', '-x509', ...key, '-extensions', 'ca', '-subj', '/CN=clawdy local client CA', '-days', DAYS],
      ...['-set_serial', serial(), '-keyout', caKey, '-out', file('client-ca.crt')],
    );
    for (const { name, extensions, days } of [{ name: 'client', extensions: 'client', days: DAYS }, ...unfit]) {
      await openssl('req', '-new', ...key, '-keyout', file(`${name}.key`), '-out', file('client.csr'));
      await openssl(
        ...['x509', '-req', '-in', file('client.csr'), '-CA', file('client-ca.crt'), '-CAkey', caKey, '-sha256'],
        ...['-days', days, '-set_serial', serial(), '-extfile', config, '-extensions', extensions],
        ...['-out', file(`${name}.crt`)],
      );
    }
  } finally {
    for (const name of ['client-ca.key', 'client.csr', 'client.cnf']) rmSync(file(name), { force: true });
  }
  const caDer = readFileSync(file('client-ca.crt'), 'utf8').replaceAll(/-----[^-]+-----|\s/g, '');
  return { certificate: file('client.crt'), key: file('client.key'), caDer };
}

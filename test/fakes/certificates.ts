import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Pair {
  certificate: string;
  key: string;
  /** Their files. */
  files: { certificate: string; key: string };
}

/**
 * A certificate that signed itself, with its key.
 * @param work a folder. @param name of the files and the subject. @param names host names and `IP:` addresses.
 */
export function selfSigned(work: string, name: string, names: string[]): Pair {
  const files = { certificate: join(work, `${name}.crt`), key: join(work, `${name}.key`) };
  const alternatives = names.map((one) => (one.startsWith('IP:') ? one : `DNS:${one}`)).join(',');
  const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', `/CN=${name}`, ...(names.length ? ['-addext', `subjectAltName=${alternatives}`] : [])];
  execFileSync('openssl', [...kind, ...subject, '-keyout', files.key, '-out', files.certificate], { stdio: 'ignore' });
  return { certificate: readFileSync(files.certificate, 'utf8'), key: readFileSync(files.key, 'utf8'), files };
}

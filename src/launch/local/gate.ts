import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { BuildError } from '../../process/errors.ts';

/** Milliseconds; an emulated gate takes some seconds. */
const ANSWER_LIMIT_MS = 60_000;

/**
 * Shakes hands with the gate and looks at its certificate; asks it nothing.
 * @param certificate the bundle's, PEM.
 * @param client paths of what the gate lets in.
 * @throws BuildError when there is no TLS, or it is another's: then something else answers there.
 */
export async function checkGate(
  url: string,
  certificate: string,
  client: { certificate: string; key: string },
  limitMs = ANSWER_LIMIT_MS,
): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect({
    host: hostname,
    port: Number(port),
    servername: hostname,
    cert: readFileSync(client.certificate),
    key: readFileSync(client.key),
    // It signed its certificate itself: that very one is wanted, below, whoever issued it.
    rejectUnauthorized: false,
  });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(limitMs) });
    const shown = socket.getPeerX509Certificate()?.fingerprint256;
    if (shown === new X509Certificate(certificate).fingerprint256) return;
  } catch (cause) {
    throw new BuildError('gate', `no gate answers at ${url}`, 'launch anew, with --keep to read its console', {
      cause,
    });
  } finally {
    socket.on('error', () => {}).destroy();
  }
  throw new BuildError(
    'gate',
    `${url} shows another certificate than the instance says it has`,
    'the instance can’t be trusted: launch anew',
  );
}

import { BuildError } from '../../process/errors.ts';
import { run } from '../../process/run.ts';

/** Seconds that sshd of an emulated machine may take to answer; ssh-keyscan's own limit is 5. */
const ANSWER_LIMIT_S = '60';

/**
 * Looks at which host key a port shows.
 * @throws BuildError when it isn't the one that the bundle names: then something else answers there.
 */
export async function checkHostKey(address: string, port: number, hostKey: string): Promise<void> {
  const { stdout } = await run('ssh-keyscan', ['-T', ANSWER_LIMIT_S, '-t', 'ed25519', '-p', String(port), address], {
    step: 'host key',
    ok: [0, 1],
  });
  const shown = stdout
    .split('\n')
    .filter((line) => line && !line.startsWith('#'))
    .map((line) => line.split(' ').slice(1, 3).join(' '));
  if (shown.length !== 1 || shown[0] !== hostKey) {
    throw new BuildError(
      'host key',
      shown.length
        ? `${address} port ${port} shows another host key than the instance says it has`
        : `no sshd answers at ${address} port ${port}`,
      'the instance can’t be trusted: launch anew',
    );
  }
}

import { expectLaunch, takeBundle, withdrawLaunch } from '../edge/enrolments.ts';
import { loadEdgeSecrets } from '../edge/secrets.ts';
import { status } from '../ops/status.ts';
import { BuildError } from '../process/errors.ts';
import { byChannel } from './hear.ts';
import type { Outside } from './hosted.ts';
import { checkHostKey } from './local/host-key.ts';
import type { InstanceRecord } from './records.ts';

/** Seconds that a box has to come to the auth proxy: as long as a launch waits for its bundle by any other way. */
const COMES_S = 15 * 60;

/**
 * What a launch asks of the instance itself, and of the auth proxy that it enrols at.
 * @param proxy of edge.yaml; undefined: none.
 */
export function outsideBy(proxy: string | undefined): Outside {
  const mine = proxy ? loadEdgeSecrets() : undefined;
  return {
    ...{ checkHostKey, byChannel, isLive },
    ...(proxy && mine
      ? {
          atProxy: {
            expect: (launch) => expectLaunch(proxy, launch, Math.floor(Date.now() / 1000) + 2 * COMES_S, mine),
            take: (launch, detail) => takeBundle(proxy, { ...launch, waitSeconds: COMES_S, detail }, mine),
            withdraw: (launch) => withdrawLaunch(proxy, launch, mine),
          },
        }
      : {}),
  };
}

/**
 * Whether an instance has passed its checks, by its own signed word.
 * @throws BuildError where it has closed itself; one that doesn't answer is not live, since sshd may be busy or restarting.
 */
export async function isLive(record: InstanceRecord): Promise<boolean> {
  const said = await status(record).catch((error: unknown) => {
    if (error instanceof BuildError) return undefined;
    throw error;
  });
  if (said?.closed) throw new BuildError('launch', `the instance stays closed: ${said.closed}`, 'mend the cause');
  return Boolean(said?.selfcheck.static && said.selfcheck.live && said.openclaw === 'active');
}

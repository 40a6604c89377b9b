import { VERDICTS } from '../../contract/enrolment.ts';
import { GATE_PORT } from '../../contract/gate.ts';
import { BuildError, inputError } from '../../process/errors.ts';
import { isAlive } from '../../process/guarded.ts';
import type { Progress } from '../../process/progress.ts';
import { lastLine } from '../../process/run.ts';
import { machineDir } from '../places.ts';
import { amendRecord, type InstanceRecord } from '../records.ts';
import { checkHostKey } from './host-key.ts';
import { forward, switchOn } from './machine.ts';

/** Milliseconds until the box has checked itself; its own limit is 30 minutes. */
const LIVE_LIMIT_MS = 30 * 60_000;

/**
 * Switches an instance of this computer on again, at the ports that it had.
 * @throws BuildError (input) where it runs; where a port is taken meanwhile, or it doesn't come up: it is off then.
 */
export async function startLocal(record: InstanceRecord, progress: Progress): Promise<void> {
  const { instance_id: id, address, ssh, gate_url, qemu } = record;
  if (qemu && isAlive(qemu)) throw inputError('start', `${id} runs`, 'npm run -s launch -- list');
  const machine = await progress.step(`switch ${id} on`, () => switchOn({ id, dir: machineDir(id), keepDir: true }));
  try {
    await forward(machine.qmp, ssh.port, ssh.guest_port);
    if (gate_url) await forward(machine.qmp, Number(new URL(gate_url).port), GATE_PORT);
    machine.console.mark();
    await progress.step('wait for OpenClaw and the live check', ({ detail }) =>
      machine.console.watch(
        'live ok',
        (text) => {
          const reason = VERDICTS.closed.exec(text)?.groups?.reason;
          if (reason) throw new BuildError('start', `${id} stays closed: ${reason}`, 'mend the cause, then again');
          detail(lastLine(text));
          return VERDICTS.live.test(text) ? true : undefined;
        },
        LIVE_LIMIT_MS,
        machine.guarded.alive,
      ),
    );
    await checkHostKey(address, ssh.port, ssh.host_key);
    amendRecord(id, { qemu: { ...machine.guarded.identity, qmp: machine.qmpPath } });
    await machine.guarded.keep();
  } catch (error) {
    await machine.guarded.end();
    throw error;
  } finally {
    machine.qmp.close();
  }
}

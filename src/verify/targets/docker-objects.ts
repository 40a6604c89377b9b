import { existsSync } from 'node:fs';
import { run, runNow } from '../../process/run.ts';

/** Carried by every container and network of a test; the process ID tells whose it is. */
export const LABELS = { clawdy: 'test', 'clawdy-pid': String(process.pid) };

/** What Docker calls the kinds of objects, in the order in which they can be removed. */
const KINDS = [
  { list: ['ps', '--all'], remove: ['rm', '--force', '--volumes'] },
  { list: ['network', 'ls'], remove: ['network', 'rm'] },
] as const;

const FORMAT = '{{.ID}} {{.Label "clawdy-pid"}}';

/** Removes what processes left that were killed; those that end otherwise remove their own. */
export async function sweepDocker(): Promise<void> {
  for (const { list, remove } of KINDS) {
    const words = [...list, '--filter', `label=clawdy=${LABELS.clawdy}`, '--format', FORMAT];
    const { stdout } = await run('docker', words, { step: 'container' });
    const stale = idsOf(stdout, (pid) => pid !== '' && !existsSync(`/proc/${pid}`));
    // Another sweep may have been faster.
    if (stale.length) await run('docker', [...remove, ...stale], { step: 'container', ok: [0, 1] });
  }
  process.off('exit', removeOwn);
  process.once('exit', removeOwn);
}

/** When this process ends in the middle, by Ctrl-C or an error: nothing of it keeps running. */
function removeOwn(): void {
  for (const { list, remove } of KINDS) {
    const own = idsOf(
      runNow('docker', [...list, '--filter', `label=clawdy-pid=${process.pid}`, '--format', FORMAT]),
      () => true,
    );
    if (own.length) runNow('docker', [...remove, ...own]);
  }
}

function idsOf(lines: string, wanted: (pid: string) => boolean): string[] {
  return lines
    .split('\n')
    .filter(Boolean)
    .flatMap((line) => {
      const [id = '', pid = ''] = line.split(' ');
      return wanted(pid) ? [id] : [];
    });
}

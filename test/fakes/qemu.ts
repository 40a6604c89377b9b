import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { bootMachine, forward } from '../../src/launch/local/machine.ts';
import { cacheRoot } from '../../src/plan/cache.ts';
import { run } from '../../src/process/run.ts';
import type { Hypervisor } from './fake.ts';
import type { NetworkedMachine } from './hetzner/index.ts';

/** Where the machine's SSH answers, on the port that it drew itself: its network is QEMU's, which forwards that port. */
const ADDRESS = '127.0.0.1';
const READY = /clawdy: ready ssh_port=(\d+)/;

/** Boots the very bytes that reached a fake, as a whole machine, with what a cloud's metadata would say. */
export class QemuHypervisor implements Hypervisor {
  async boot({
    disk,
    instanceId,
    userData,
  }: {
    disk: string;
    instanceId: string;
    userData: string;
  }): Promise<NetworkedMachine> {
    mkdirSync(cacheRoot(), { recursive: true });
    const dir = mkdtempSync(join(cacheRoot(), 'fake-machine-'));
    const image = join(dir, 'base.qcow2');
    const step = { step: 'fake machine' };
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', disk, image], step);
    const machine = await bootMachine({ id: instanceId, dir, image, userData, keepDir: true });
    const timer = setInterval(async () => {
      const port = Number(READY.exec(machine.console.text())?.[1] ?? 0);
      if (!port) return;
      clearInterval(timer);
      await forward(machine.qmp, port, port);
    }, 1000);
    return {
      console: () => machine.console.text(),
      ssh: () => ({ address: ADDRESS }),
      off: async () => {
        clearInterval(timer);
        machine.qmp.close();
        await machine.guarded.end();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  }
}

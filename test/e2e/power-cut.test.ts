import test from 'ava';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import { userData } from '../image.ts';
import { DISK, LIMITS, waitReady } from '../vm/machine.ts';

let lab: Lab;
test.before(async () => {
  lab = await openLab();
});
test.after.always(() => lab?.close());

test.serial('a power cut during first boot ends in the same place as none', async (t) => {
  const vm = await lab.bootVm({ disk: DISK, name: 'cut', userData: userData({}) });
  // In the midst of identity: its part for SSH says this before its values are stamped. systemd's own "Starting…" lines
  // are cut short on a busy console.
  await vm.waitForConsole(/identity\[\d+\]: clawdy: no SSH key/, LIMITS.ready);
  await vm.powerCut();
  await vm.powerOn();
  const first = await waitReady(vm);
  await vm.powerCut();
  await vm.powerOn();
  t.deepEqual(await waitReady(vm), first);
  await vm.close();
});

import test from 'ava';
import { loadClaims } from '../../src/verify/claims/load.ts';
import { renderClaim } from '../../src/verify/claims/render.ts';
import { runClaim } from '../../src/verify/claims/run-claim.ts';
import { type Lab, openLab } from '../../src/verify/lab/lab.ts';
import type { Vm } from '../../src/verify/lab/vm.ts';
import { VmPeer, VmTarget } from '../../src/verify/targets/vm.ts';
import { LAYERS, ROOT, userData } from '../image.ts';
import { DISK, LIMITS, LIVE } from './machine.ts';

const claims = loadClaims(ROOT, LAYERS).filter(
  ({ id, where }) => where.includes('vm') && (!process.env.CLAIM || process.env.CLAIM === id),
);
const executed: string[] = [];
let lab: Lab;
let vm: Vm;

if (claims.length) {
  test.before(async () => {
    lab = await openLab();
    vm = await lab.bootVm({ disk: DISK, name: 'claims', userData: userData({}) });
    await vm.waitForConsole(LIVE, LIMITS.live);
    // Every claim starts from this very moment: a sabotage leaves nothing for the next.
    await vm.exec('true');
    await vm.save('live');
  });
}
test.after.always(() => lab?.close());

for (const claim of claims) {
  test.serial(`${claim.layer.name} ${claim.id}`, async (t) => {
    await vm.restore('live');
    const result = await runClaim(claim, {
      root: ROOT,
      target: new VmTarget(vm),
      peer: new VmPeer(lab.peer('attacker')),
    });
    executed.push(claim.id);
    t.true(result.ok, renderClaim(result));
  });
}

test.serial('executed equals declared', (t) => {
  t.deepEqual(
    executed,
    claims.map(({ id }) => id),
  );
});

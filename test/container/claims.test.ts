import test from 'ava';
import { loadClaims } from '../../src/verify/claims/load.ts';
import { renderClaim } from '../../src/verify/claims/render.ts';
import { ContainerStage } from '../../src/verify/stage.ts';
import { IMAGE_DIR, LAYERS, ROOT } from '../image.ts';

const claims = loadClaims(ROOT, LAYERS).filter(
  ({ id, where }) => where.includes('container') && (!process.env.CLAIM || process.env.CLAIM === id),
);
let stage: ContainerStage | undefined;
const executed: string[] = [];

if (claims.length) {
  test.before(async () => {
    stage = await ContainerStage.open(ROOT, IMAGE_DIR);
  });
}
test.after.always(() => stage?.close());

for (const claim of claims) {
  test.serial(`${claim.layer.name} ${claim.id}`, async (t) => {
    const result = await (stage as ContainerStage).run(claim);
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

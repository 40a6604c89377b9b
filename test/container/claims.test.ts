import test from 'ava';
import { ContainerStage } from '../../src/verify/stage.ts';
import { claimsFor, testClaims } from '../claims.ts';
import { IMAGE_DIR, ROOT } from '../image.ts';

const claims = claimsFor('container');
let stage: ContainerStage;

test.before(async () => {
  stage = await ContainerStage.open(ROOT, IMAGE_DIR);
});
test.after.always(() => stage?.close());

testClaims(claims, (claim) => stage.run(claim));

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { ImageManifest } from '../../src/manifest/image.ts';
import { BuildError } from '../../src/process/errors.ts';
import { type LayerClaim, loadClaims } from '../../src/verify/claims/load.ts';
import { identify } from '../../src/verify/claims/run-claim.ts';
import { renderHtml } from '../../src/verify/report/html.ts';
import { renderJunit } from '../../src/verify/report/junit.ts';
import { type ClaimResult, isGreen, reportSchema } from '../../src/verify/report/schema.ts';
import { renderClaim } from '../../src/verify/report/text.ts';
import { forgetReport, writeReport } from '../../src/verify/report/write.ts';
import type { Stage } from '../../src/verify/stages/stage.ts';
import { tasksOf, type Verification, verify } from '../../src/verify/verify.ts';
import { LAYERS, ROOT } from '../image.ts';

const claims = loadClaims(ROOT, LAYERS);
const image = { id: 'debian-13-x', base: { id: 'debian-13' }, disk: { rawSha256: 'f'.repeat(64) } } as ImageManifest;

/** What an attempt printed that no page may take for its own. */
const HOSTILE = 'a <script>alert(1)</script> & "\u001b[31m\u0001 ]]>';

function result(claim: LayerClaim, place: Stage['kind'], ok = true): ClaimResult {
  const verdict = (expected: string, good = true) => ({
    expected,
    got: good ? expected : 'reset',
    ok: good,
    evidence: HOSTILE,
  });
  return {
    ...identify(claim, place),
    control: verdict('ok'),
    attack: verdict('timeout', ok),
    sabotage: verdict('ok'),
    seconds: 1,
    ok,
  };
}

/** A verification on stages that only say what was asked of them. */
function fake(
  run: (claim: LayerClaim, place: Stage['kind']) => Promise<ClaimResult>,
): Verification & { said: string[] } {
  const said: string[] = [];
  return {
    said,
    image,
    layers: LAYERS,
    scope: 'ci',
    open: async (place) => {
      said.push(`open ${place}`);
      return {
        kind: place,
        run: (claim) => run(claim, place),
        close: async () => {
          said.push(`close ${place}`);
        },
      };
    },
  };
}

test('scope full runs everything everywhere; scope ci what isn’t left to it, once, in a VM only where a container can’t', (t) => {
  const full = tasksOf(claims, 'full');
  t.is(
    full.length,
    claims.reduce((sum, { where }) => sum + where.length, 0),
  );
  const ci = tasksOf(claims, 'ci');
  const often = claims.filter(({ scope }) => scope === 'ci');
  t.deepEqual(ci.map(({ claim }) => claim.id).sort(), often.map(({ id }) => id).sort());
  for (const { layer } of claims)
    t.true(
      often.some((claim) => claim.layer === layer),
      `${layer.name} is attacked each time`,
    );
  for (const { claim, place } of ci) t.is(place, claim.where.includes('container') ? 'container' : 'vm', claim.id);
});

test('every stage is opened once and closed; the report is whole and of its schema', async (t) => {
  const about = fake(async (claim, place) => result(claim, place));
  const tasks = tasksOf(claims, 'full');
  const report = await verify(tasks, about);
  t.deepEqual(about.said.toSorted(), ['close container', 'close vm', 'open container', 'open vm']);
  t.notThrows(() => reportSchema.parse(JSON.parse(JSON.stringify(report))));
  t.deepEqual(report.totals, {
    declared: tasks.length,
    executed: tasks.length,
    passed: tasks.length,
    failed: 0,
    skipped: 0,
  });
  t.true(isGreen(report));
  t.is(report.layers.flatMap((layer) => layer.claims).length, tasks.length);
});

test('a claim that fails, and a box that never boots, are red, and the rest still runs', async (t) => {
  const tasks = tasksOf(claims, 'ci');
  const [first, second] = [tasks[0]?.claim.id, tasks[1]?.claim.id];
  const about = fake(async (claim, place) => {
    if (claim.id === first) throw new BuildError('boot', 'clawdy: closed: no key', 'read it', { tail: 'last words' });
    return result(claim, place, claim.id !== second);
  });
  const report = await verify(tasks, about);
  t.false(isGreen(report));
  t.deepEqual([report.totals.executed, report.totals.failed], [tasks.length - 1, 2], 'no box is no execution');
  const all = report.layers.flatMap((layer) => layer.claims);
  const broken = all.find(({ id }) => id === first);
  t.false(broken?.control.ok);
  t.regex(broken?.control.evidence ?? '', /closed: no key\nlast words/);
  t.regex(renderClaim('01', all.find(({ id }) => id === second) as ClaimResult), /attack: expected timeout, got reset/);
});

test('lanes share the claims, none twice; what measures time runs when nothing else does', async (t) => {
  const alone = new Set([claims[0]?.id, claims[3]?.id]);
  const tasks = tasksOf(
    claims.map((claim) => ({ ...claim, alone: alone.has(claim.id) })),
    'ci',
  );
  let running = 0;
  let most = 0;
  const order: string[] = [];
  const about = fake(async (claim, place) => {
    running++;
    most = Math.max(most, running);
    if (claim.alone) t.is(running, 1, claim.id);
    await new Promise((resolve) => setTimeout(resolve, order.length % 3));
    running--;
    order.push(claim.id);
    return result(claim, place);
  });
  const report = await verify(tasks, { ...about, lanes: { container: 3 } });
  // Three lanes of containers, and a VM.
  t.is(most, 4);
  t.deepEqual([...order].sort(), tasks.map(({ claim }) => claim.id).sort());
  t.is(about.said.filter((line) => line === 'open container').length, 3);
  t.is(about.said.filter((line) => line === 'close container').length, 3);
  t.deepEqual(
    report.layers.flatMap((layer) => layer.claims.map(({ id }) => id)),
    LAYERS.flatMap((layer) =>
      tasks.filter(({ claim }) => claim.layer.name === layer.name).map(({ claim }) => claim.id),
    ),
  );
});

test('in turn, machines are through and gone before the first container is opened, also where they can’t be had', async (t) => {
  const tasks = tasksOf(claims, 'ci');
  const events: string[] = [];
  const about = fake(async (claim, place) => {
    events.push(place);
    await new Promise((resolve) => setTimeout(resolve, 1));
    return result(claim, place);
  });
  const open: Verification['open'] = async (place) => {
    events.push(`open ${place}`);
    return { ...(await about.open(place)), close: async () => void events.push(`close ${place}`) };
  };
  const report = await verify(tasks, { ...about, open, lanes: { container: 2 }, inTurn: true });
  t.true(isGreen(report));
  const gone = events.indexOf('close vm');
  t.deepEqual(new Set(events.slice(0, gone)), new Set(['open vm', 'vm']));
  t.deepEqual(new Set(events.slice(gone + 1)), new Set(['open container', 'container', 'close container']));

  const without = await verify(tasks, {
    ...about,
    open: async (place) => {
      if (place === 'vm') throw new BuildError('lab', 'no network namespace could be made', 'npm run doctor');
      return about.open(place);
    },
    inTurn: true,
  });
  t.is(without.totals.failed, tasks.filter(({ place }) => place === 'vm').length);
});

test('a stage that can’t be opened makes its claims red; what the others showed is kept', async (t) => {
  const tasks = tasksOf(claims, 'ci');
  const about = fake(async (claim, place) => result(claim, place));
  const report = await verify(tasks, {
    ...about,
    open: async (place) => {
      if (place === 'vm') throw new BuildError('lab', 'no network namespace could be made', 'npm run doctor');
      return about.open(place);
    },
  });
  const vms = tasks.filter(({ place }) => place === 'vm').length;
  t.deepEqual([report.totals.executed, report.totals.failed], [tasks.length - vms, vms]);
  t.false(isGreen(report));
  const [one] = report.layers.flatMap((layer) => layer.claims).filter(({ target }) => target === 'vm');
  t.regex(one?.control.evidence ?? '', /no network namespace/);
});

test('a stage that can’t be taken down loses nobody’s result', async (t) => {
  const errors: unknown[] = [];
  const about = fake(async (claim, place) => result(claim, place));
  const report = await verify(tasksOf(claims, 'ci'), {
    ...about,
    open: async (place) => ({ ...(await about.open(place)), close: () => Promise.reject(new Error('busy')) }),
    onCloseError: (error) => errors.push(error),
  });
  t.true(isGreen(report));
  t.is(errors.length, 2);
});

test('the stage is closed whatever happens', async (t) => {
  const about = fake(async () => {
    throw 'not an error';
  });
  await t.throwsAsync(verify(tasksOf(claims, 'ci'), about), { any: true });
  t.deepEqual(about.said.toSorted(), ['close container', 'close vm', 'open container', 'open vm']);
});

test('nothing executed, or less than declared, is not green', (t) => {
  const totals = { declared: 0, executed: 0, passed: 0, failed: 0, skipped: 0 };
  const report = { totals } as Parameters<typeof isGreen>[0];
  t.false(isGreen(report));
  t.false(isGreen({ ...report, totals: { ...totals, declared: 2, executed: 1, passed: 1 } }));
  t.true(isGreen({ ...report, totals: { ...totals, declared: 1, executed: 1, passed: 1 } }));
});

test('what a box printed stays text, in the page and in XML', async (t) => {
  const tasks = tasksOf(claims, 'ci');
  const report = await verify(
    tasks,
    fake(async (claim, place) => result(claim, place, false)),
  );
  const page = renderHtml(report);
  t.false(page.includes('<script'));
  t.true(page.includes('&lt;script&gt;'));
  t.false(page.includes('\u001b'));
  t.notRegex(page, /(?:src|href)="(?!#)/, 'nothing is loaded from elsewhere');
  const xml = renderJunit(report);
  t.false(xml.includes('\u0001'));
  t.is(xml.match(/<failure /g)?.length, tasks.length);
  t.regex(xml, new RegExp(`tests="${tasks.length}" failures="${tasks.length}"`));
});

test('the report is kept beside the image', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'clawdy-report-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const report = await verify(
    tasksOf(claims, 'ci'),
    fake(async (claim, place) => result(claim, place)),
  );
  t.is(writeReport(dir, report), join(dir, 'verify'));
  t.deepEqual(readdirSync(join(dir, 'verify')).sort(), ['junit.xml', 'report.html', 'report.json']);
  t.deepEqual(JSON.parse(readFileSync(join(dir, 'verify', 'report.json'), 'utf8')), report);
  t.true(existsSync(join(dir, 'verify', 'report.html')));
  writeReport(dir, { ...report, scope: 'full' });
  forgetReport(dir, 'ci');
  const scopeOf = (...path: string[]) =>
    (JSON.parse(readFileSync(join(dir, 'verify', ...path), 'utf8')) as { scope: string }).scope;
  t.false(existsSync(join(dir, 'verify', 'report.json')), 'a run that is cut short leaves none');
  writeReport(dir, report);
  t.deepEqual([scopeOf('report.json'), scopeOf('full', 'report.json')], ['ci', 'full']);
  forgetReport(dir, 'full');
  t.false(existsSync(join(dir, 'verify', 'full', 'report.json')));
});

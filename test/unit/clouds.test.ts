import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { regionOption } from '../../src/cli/clouds.ts';
import { Store } from '../../src/clouds/local/store.ts';

const work = mkdtempSync(join(tmpdir(), 'clawdy-clouds-'));
test.after.always(() => rmSync(work, { recursive: true, force: true }));

test('regions are collected; an empty one, of a variable that isn’t set, is refused', (t) => {
  const parse = regionOption().parseArg as unknown as (text: string, before: string[]) => string[];
  t.deepEqual(parse('two, three', ['one']), ['one', 'two', 'three']);
  for (const text of ['', 'one,', ',']) t.throws(() => parse(text, []), { message: /an empty name/ });
});

test('a store that is no folder isn’t room', (t) => {
  const file = join(work, 'a-file');
  writeFileSync(file, '');
  for (const [store, ok] of [
    [file, false],
    [join(file, 'below'), false],
    [join(work, 'not', 'yet'), true],
  ] as const) {
    const room = new Store(store).room();
    t.is(room.ok, ok, room.found);
  }
});

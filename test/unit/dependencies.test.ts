import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { PREREQUISITES } from '../../src/setup/prerequisites.ts';

const ROOT = join(import.meta.dirname, '../..');

/** The first cells of a section's table, each as the packages that it names. */
function rows(section: string): string[][] {
  const text = readFileSync(join(ROOT, 'docs', 'dependencies.md'), 'utf8').split(`## ${section}\n`)[1] ?? '';
  const table = (text.split('\n## ')[0] as string).split('\n').filter((line) => /^\| [a-z@]/.test(line));
  return table.slice(1).map((line) => (line.split('|')[1] as string).trim().split(/, | and /));
}

test('every npm package has one line that says why, and no other has', (t) => {
  const json = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, Record<string, string>>;
  const declared = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((kind) =>
    Object.keys(json[kind] ?? {}),
  );
  t.deepEqual(rows('npm').flat().sort(), declared.sort());
});

test('every prerequisite of set-up has one line that says why', (t) => {
  const table = rows('Debian packages on the machine that bakes');
  for (const { name, packages } of PREREQUISITES)
    t.is(table.filter((row) => row.some((word) => packages.includes(word))).length, 1, name);
});

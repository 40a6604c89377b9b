import { randomBytes } from 'node:crypto';
import test from 'ava';
import { BUNDLE_LIMIT } from '../../src/contract/enrolment.ts';
import { bundleFromConsole } from '../../src/launch/console-bundle.ts';
import { consoleLines } from './launch-fixture.ts';

const bundle = randomBytes(700);
const lines = consoleLines(bundle);

const read = (...said: string[]) => bundleFromConsole(`${said.join('\n')}\n`);

test('a bundle is read from its plain lines; nothing is said while its end hasn’t come', (t) => {
  t.deepEqual(read(...lines), bundle);
  t.is(read(), undefined);
  t.is(read(...lines.slice(0, -1)), undefined);
});

test('it is read through prefixes, carriage returns, colours, lines of others and repeats', (t) => {
  const prefixed = lines.map((line, index) => `[   ${index}.123456] enrol[670]: ${line}\r`);
  t.deepEqual(read(...prefixed), bundle);
  const coloured = lines.map((line) => `\u001b[0;32m${line}\u001b[0m\r\r`);
  t.deepEqual(read(...coloured), bundle);
  const mixed = lines.flatMap((line, index) => [
    `[  OK  ] Started something-${index}.service`,
    line,
    line,
    'clawdy: live ok',
    '',
  ]);
  t.deepEqual(read(...mixed), bundle);
  t.deepEqual(read(...[...lines.slice(0, -1)].reverse(), lines.at(-1) as string), bundle);
});

test('a line that another garbled is taken from the repeat', (t) => {
  const garbled = lines.with(2, `${lines[2]?.slice(0, 40)}[   12.3] random: crng init done`);
  t.throws(() => read(...garbled), { name: 'BuildError', message: /part 3 of \d+ is missing/ });
  t.deepEqual(read(...garbled, ...lines), bundle);
  // Two lines that ran into one: the second is whole.
  const joined = [...lines.slice(0, 1), `${lines[1]?.slice(0, 30)}${lines[2]}`, ...lines.slice(3)];
  t.throws(() => read(...joined), { message: /part 2 of \d+ is missing/ });
  t.deepEqual(read(...joined, ...lines), bundle);
});

test('a gap, a changed character, another end and an end alone are refused', (t) => {
  for (let gap = 0; gap < lines.length - 1; gap++) {
    t.throws(() => read(...lines.toSpliced(gap, 1)), { message: new RegExp(`part ${gap + 1} of|digest`) });
  }
  const changed = lines.with(
    1,
    (lines[1] as string).replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
  );
  t.throws(() => read(...changed), { message: /digest is another/ });
  t.throws(() => read(...lines.with(-1, `clawdy: bundle end sha256=${'0'.repeat(64)}`)), { message: /digest/ });
  t.throws(() => read(lines.at(-1) as string), { message: /without any part/ });
});

test('a later bundle, as after a renewal, takes the place of an earlier one', (t) => {
  const later = consoleLines(randomBytes(700));
  t.deepEqual(read(...lines.slice(0, -1), ...later), Buffer.from(joinOf(later), 'base64'));
});

const joinOf = (said: string[]) =>
  said
    .slice(0, -1)
    .map((line) => line.split(' ').at(-1))
    .join('');

test('the largest bundle is read, a longer one is refused at its first line', (t) => {
  const largest = randomBytes(BUNDLE_LIMIT);
  t.deepEqual(read(...consoleLines(largest)), largest);
  t.throws(() => read('clawdy: bundle 1/9999 AAAA'), { message: /9999 lines/ });
});

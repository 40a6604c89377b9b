import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { layerSchema } from '../../src/manifest/layer-schema.ts';
import { readYaml } from '../../src/manifest/yaml-file.ts';
import { BuildError } from '../../src/process/errors.ts';

const GOOD = `id: demo
title: Demo
promise: Nothing.
state: active
overlay:
  /etc/demo: { mode: "0644" }
`;

function read(text: string): BuildError | undefined {
  const file = join(mkdtempSync(join(tmpdir(), 'clawdy-unit-')), 'layer.yaml');
  writeFileSync(file, text);
  try {
    readYaml(file, layerSchema, 'layers');
    return undefined;
  } catch (error) {
    if (error instanceof BuildError) return error;
    throw error;
  }
}

test('a sound manifest is read', (t) => {
  t.is(read(GOOD), undefined);
});

const bad: [string, string, RegExp, RegExp][] = [
  [
    'a misspelt key',
    GOOD.replace('promise:', 'promsie:'),
    /layer\.yaml:3: .*promsie/,
    /known here: id, title, promise/,
  ],
  ['a duplicate key', `${GOOD}title: Again\n`, /layer\.yaml:7: Map keys must be unique/, /mend the YAML/],
  [
    'an unquoted mode',
    GOOD.replace('"0644"', '0644'),
    /layer\.yaml:6: .*mode: .*expected string/,
    /quote the mode: "0644"/,
  ],
  ['a three-digit mode', GOOD.replace('"0644"', '"644"'), /layer\.yaml:6: .*four octal digits/, /./],
  ['a relative path', GOOD.replace('/etc/demo', 'etc/demo'), /layer\.yaml:6: /, /./],
  ['broken YAML', GOOD.replace('title: Demo', 'title: [Demo'), /layer\.yaml:\d+: /, /mend the YAML/],
  [
    'an unknown key deep inside',
    GOOD.replace('mode: "0644"', 'mode: "0644", group: x'),
    /layer\.yaml:6: .*group/,
    /known here: owner, mode/,
  ],
];

for (const [name, text, message, hint] of bad) {
  test(`${name} names file, line and remedy`, (t) => {
    const error = read(text);
    t.truthy(error);
    t.regex(error?.message ?? '', message);
    t.regex(error?.hint ?? '', hint);
    t.is(error?.exitCode, 3);
  });
}

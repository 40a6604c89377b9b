import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { BuildError } from '../../process/errors.ts';
import type { Peer, Target } from './target.ts';

/**
 * Puts many files into one folder in two exchanges, whatever their number: each exchange with an emulated machine costs a
 * third of a second.
 *
 * @param folder absolute; it is there already.
 * @param files contents by name.
 * @param mode octal, of every file.
 * @throws BuildError where the box or peer can't unpack them.
 */
export async function putAll(
  actor: Peer | Target,
  folder: string,
  files: Record<string, string | Buffer>,
  mode: string,
): Promise<void> {
  const archive = pack();
  for (const [name, content] of Object.entries(files)) {
    archive.entry({ name, mode: Number.parseInt(mode, 8), uid: 0, gid: 0 }, content);
  }
  archive.finalize();
  const path = `${folder}/.put.tar`;
  await actor.put(path, await buffer(archive), '0600');
  const { exitCode, stderr } = await actor.exec(`cd ${folder} && tar -x -p -f .put.tar && rm .put.tar`);
  if (exitCode !== 0) throw new BuildError('put', `can't unpack in ${folder}: ${stderr.trim()}`, 'a full disk?');
}

import { createHash } from 'node:crypto';
import { createReadStream, lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { relative } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { listFiles } from '../manifest/layers.ts';

/** SHA-256, hex, of a value's JSON. Object keys are taken in the order given. */
export function hashOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

/** SHA-256, hex, of one file's bytes, however many. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** SHA-256 over names, link targets, executable bits and contents of files or folders, in a fixed order. */
export function hashFiles(root: string, paths: string[]): string {
  const hash = createHash('sha256');
  for (const path of paths.flatMap((path) => (isFolder(path) ? listFiles(path) : [path])).sort()) {
    const stat = lstatSync(path);
    const body = stat.isSymbolicLink() ? Buffer.from(readlinkSync(path)) : readFileSync(path);
    hash.update(`${relative(root, path)}\0${stat.mode & 0o111 ? 'x' : '-'}\0${body.length}\0`).update(body);
  }
  return hash.digest('hex');
}

function isFolder(path: string): boolean {
  return lstatSync(path).isDirectory();
}

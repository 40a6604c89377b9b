import { createHash } from 'node:crypto';
import { stripVTControlCharacters } from 'node:util';
import { BUNDLE_LIMIT, BUNDLE_LINES } from '../contract/enrolment.ts';
import { BuildError } from '../process/errors.ts';

const MAX_PARTS = Math.ceil((Math.ceil(BUNDLE_LIMIT / 3) * 4) / BUNDLE_LINES.chunk);

/** After a bundle that can't be read, its repeat comes within this: REPEAT_AFTER_S in boot/enrol is 20 s. */
const REPEAT_LIMIT_MS = 120_000;

/**
 * Finds the sealed bundle among all that a serial console said. Lines of others in between, repeats, and whatever
 * precedes `clawdy:` don't matter; a line that was garbled counts as missing and may come whole in a repeat.
 *
 * @returns the sealed bundle, or undefined while its last line hasn't come.
 * @throws BuildError when it ended and yet a part is missing or the digest is another. A repeat may still come.
 */
export function bundleFromConsole(text: string): Buffer | undefined {
  let parts: string[] = [];
  let fault: string | undefined;
  for (const line of stripVTControlCharacters(text).split('\n')) {
    const words = line.replace(/\r+$/, '');
    const part = BUNDLE_LINES.part.exec(words)?.groups;
    if (part) {
      const [number, count] = [Number(part.number), Number(part.count)];
      if (count > MAX_PARTS) throw refused(`it would have ${count} lines, at most ${MAX_PARTS} are read`);
      if (parts.length !== count) parts = Array(count).fill('');
      const whole = number < count ? BUNDLE_LINES.chunk : undefined;
      const chunk = part.chunk as string;
      if (number <= count && (whole === undefined || chunk.length === whole)) parts[number - 1] = chunk;
      continue;
    }
    const sha256 = BUNDLE_LINES.end.exec(words)?.groups?.sha256;
    if (!sha256) continue;
    const missing = parts.indexOf('');
    const bundle = Buffer.from(parts.join(''), 'base64');
    if (parts.length && missing < 0 && createHash('sha256').update(bundle).digest('hex') === sha256) return bundle;
    fault = !parts.length
      ? 'its end came without any part'
      : missing < 0
        ? 'its digest is another: a line was changed on the way'
        : `part ${missing + 1} of ${parts.length} is missing`;
  }
  if (fault) throw refused(fault);
  return undefined;
}

/** Reads the bundle; one that came garbled may come whole in its repeat. */
export function patientReader(): (text: string) => Buffer | undefined {
  let since: number | undefined;
  return (text) => {
    try {
      return bundleFromConsole(text);
    } catch (error) {
      since ??= Date.now();
      if (Date.now() - since > REPEAT_LIMIT_MS) throw error;
      return undefined;
    }
  };
}

function refused(why: string): BuildError {
  return new BuildError('enrolment', `the sealed bundle on the console can't be read: ${why}`, 'launch a new instance');
}

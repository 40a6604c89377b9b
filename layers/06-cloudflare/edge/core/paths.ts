/** Where somebody goes back to after signing in. */
import { OWN_PATHS } from '../../../../src/contract/edge.ts';

/** Characters of a path that is kept; longer ones lead to the start page. */
const LONGEST = 2048;

/**
 * @returns the path if it can only mean one of the same host, else `/`. Browsers take `//`, `/\` and what tabs and newlines
 * hide as another host (https://url.spec.whatwg.org/#url-parsing), so everything but plain printable ASCII is refused.
 */
export function backPath(path: string | null): string {
  if (!path || path.length > LONGEST || !/^\/(?![/\\])[!-[\]-~]*$/.test(path)) return '/';
  const base = 'https://host.invalid';
  const url = URL.parse(path, base);
  // Dots are resolved before it is looked at again: `/.//host` is another host's after that.
  const resolved = url && `${url.pathname}${url.search}`;
  if (url?.origin !== base || !resolved || resolved.startsWith('//') || resolved.startsWith(OWN_PATHS)) return '/';
  return resolved;
}

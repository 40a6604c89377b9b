/** Whether a request comes from where it says: our own page, a person, or another site's page. */

const SAFE = ['GET', 'HEAD'];

/**
 * Judges Origin and Sec-Fetch-*, which pages can't set (https://web.dev/articles/fetch-metadata).
 *
 * - An Origin other than our own is refused, whatever the method. `null` is our own where Sec-Fetch-Site says so: forms of a
 *   page with `Referrer-Policy: no-referrer` send it. A sandboxed frame sends it too, but is `cross-site`.
 * - What another site's page began (`cross-site`, and `same-site`: other instances' apps are siblings) is refused, but a person
 *   may follow a link: GET, into a window of its own. Not into a frame.
 * - What changes something, and a WebSocket, must show our own Origin. Browsers always send it there; a program can.
 * - Without Sec-Fetch-Site (old browsers, programs) a GET goes through: it is no more than a link.
 *
 * @param own the origin of the request's own host.
 * @returns why it is refused.
 */
export function foreign(request: Request, own: string): string | undefined {
  const { method, headers } = request;
  const site = headers.get('sec-fetch-site');
  const upgrade = headers.has('upgrade');
  const origin = headers.get('origin');
  const hidden = origin === 'null' && site === 'same-origin' && !upgrade;
  if (origin !== null && origin !== own && !hidden) return 'origin';
  const safe = SAFE.includes(method) && !upgrade;
  if (!safe && origin === null) return 'no-origin';
  if (site === null || site === 'same-origin' || site === 'none') return undefined;
  const followed = headers.get('sec-fetch-mode') === 'navigate' && headers.get('sec-fetch-dest') === 'document';
  return safe && followed ? undefined : 'site';
}

/** Whether a person looks at the answer, so that it should be a page. */
export function wantsPage(request: Request): boolean {
  return SAFE.includes(request.method) && (request.headers.get('accept') ?? '').includes('text/html');
}

/**
 * Whether a request may ride on somebody's session: it comes from a page of this very host, or somebody has followed a link to it.
 *
 * - What changes something, and every WebSocket, needs `Origin: https://<this host>`. Browsers send it with both
 *   (https://fetch.spec.whatwg.org/#origin-header); where it is missing, `Sec-Fetch-Site: same-origin` will do for the former.
 * - What only reads may come from anywhere as a navigation of the whole window, and from this host in any way. Frames, pictures and
 *   scripts of other sites get nothing (https://www.w3.org/TR/fetch-metadata/).
 */
export function mayRide(request: Request, origin: string): boolean {
  const { headers, method } = request;
  const [from, site] = [headers.get('origin'), headers.get('sec-fetch-site')];
  if (isUpgrade(request)) return from === origin;
  if (!['GET', 'HEAD', 'OPTIONS'].includes(method)) return from === origin || (from === null && site === 'same-origin');
  // `none`: typed, or from a bookmark. Without either header it isn't a browser that speaks of others' behalf.
  if (site === null || site === 'same-origin' || site === 'none') return from === null || from === origin;
  return (
    method === 'GET' && headers.get('sec-fetch-mode') === 'navigate' && headers.get('sec-fetch-dest') === 'document'
  );
}

export function isUpgrade({ headers }: Request): boolean {
  return headers.get('upgrade') !== null;
}

/** Whether somebody waits for a page. */
export function isNavigation({ headers, method }: Request): boolean {
  const mode = headers.get('sec-fetch-mode');
  return (
    method === 'GET' && (mode === null || mode === 'navigate') && (headers.get('accept') ?? '').includes('text/html')
  );
}

/** A path on this host to return to; `/` for whatever could lead elsewhere. */
export function pathWithin(text: string | null): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: browsers drop some of them and then see `//`
  if (!text || text.length > 2048 || !/^\/(?![/\\])/.test(text) || /[\u0000-\u001f\u007f\\]/.test(text)) return '/';
  const url = new URL(text, 'https://host.invalid');
  return url.origin === 'https://host.invalid' && !url.pathname.startsWith('//') ? `${url.pathname}${url.search}` : '/';
}

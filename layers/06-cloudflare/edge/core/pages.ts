/** What a person sees of the proxy itself: whole documents without scripts, images or anything from elsewhere. */
import escapeHtml from 'escape-html';
import { OWN_PATHS } from '../../../../src/contract/edge.ts';

export interface Page {
  status: number;
  title: string;
  /** Fixed text: nothing of the request gets into a page but what `link` and `form` take, escaped. */
  text: string;
  link?: { href: string; text: string };
  form?: { action: string; text: string };
  /** Seconds until it loads itself again. */
  reload?: number;
}

const STYLE = `:root{color-scheme:light dark}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.125rem/1.5 system-ui,sans-serif;background:#f6f7f9;color:#1b1f24}
main{max-width:30rem;margin:1.5rem;padding:2rem;background:#fff;border:1px solid #d5d9de;border-radius:.75rem}
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}p{margin:0 0 1.25rem}p:last-child{margin:0}
a.do,button{display:inline-block;padding:.6rem 1.2rem;border:0;border-radius:.5rem;background:#0b57d0;color:#fff;font:inherit;text-decoration:none;cursor:pointer}
a.do:focus-visible,button:focus-visible{outline:3px solid #f5a524;outline-offset:2px}
@media (prefers-color-scheme:dark){body{background:#14171a;color:#e6e9ec}main{background:#1d2125;border-color:#3a4047}a.do,button{background:#a8c7fa;color:#062e6f}}`;

function html({ title, text, link, form, reload }: Page): string {
  const refresh = reload ? `<meta http-equiv="refresh" content="${reload}">` : '';
  const doing = [
    link ? `<p><a class="do" href="${escapeHtml(link.href)}">${escapeHtml(link.text)}</a></p>` : '',
    form
      ? `<form method="post" action="${escapeHtml(form.action)}"><button>${escapeHtml(form.text)}</button></form>`
      : '',
  ].join('');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">${refresh}
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head>
<body><main><h1>${escapeHtml(title)}</h1><p>${escapeHtml(text)}</p>${doing}</main></body></html>
`;
}

/** @returns the SHA-256 of the style, so that the policy allows this one and no other. */
async function styleHash(): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(STYLE));
  return btoa(String.fromCharCode(...new Uint8Array(digest)));
}

/** Headers of everything that the proxy says itself. */
export const OWN_HEADERS = {
  'cache-control': 'no-store',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cross-origin-resource-policy': 'same-origin',
} as const;

/** @param head of a HEAD request: no body. @param cookies Set-Cookie headers of ours. */
export async function page(what: Page, head = false, cookies: string[] = []): Promise<Response> {
  const policy = `default-src 'none'; style-src 'sha256-${await styleHash()}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`;
  const headers = new Headers({ ...OWN_HEADERS, 'content-type': 'text/html; charset=utf-8' });
  headers.set('content-security-policy', policy);
  if (what.reload) headers.set('retry-after', String(what.reload));
  for (const cookie of cookies) headers.append('set-cookie', cookie);
  return new Response(head ? null : html(what), { status: what.status, headers });
}

/** For programs: the form of the gate's own answers. */
export function word(status: number, error: string): Response {
  return new Response(JSON.stringify({ error }), {
    status,
    headers: { ...OWN_HEADERS, 'content-type': 'application/json' },
  });
}

/** A redirect of ours, to an address that we made. */
export function redirect(to: string, cookies: string[] = []): Response {
  const headers = new Headers({ ...OWN_HEADERS, location: to });
  for (const cookie of cookies) headers.append('set-cookie', cookie);
  return new Response(null, { status: 302, headers });
}

const LOGIN = `${OWN_PATHS}login`;
const again = { href: '/', text: 'Try again' };

export const PAGES = {
  signIn: (back: string): Page => ({
    ...{ status: 401, title: 'Sign in' },
    text: 'You need to sign in to use this instance.',
    link: { href: `${LOGIN}?back=${encodeURIComponent(back)}`, text: 'Sign in' },
  }),
  /** Under Cloudflare Access, which should have asked already. */
  noAccess: (): Page => ({
    ...{ status: 401, title: 'Sign in', link: again },
    text: 'Your sign-in has ended, or it did not reach this page. Load it again to sign in.',
  }),
  notYours: (): Page => ({
    ...{ status: 403, title: 'Not yours' },
    text: 'You are signed in, but nothing here is shared with you. Ask its owner, or sign in as somebody else.',
    link: { href: OWN_PATHS, text: 'Your account' },
  }),
  starting: (): Page => ({
    ...{ status: 503, title: 'Starting', reload: 10 },
    text: 'The instance is starting. This page tries again by itself every ten seconds.',
  }),
  unreachable: (): Page => ({
    ...{ status: 502, title: 'Unreachable', link: again },
    text: 'The instance does not answer. It may be restarting; if this lasts, tell whoever runs it.',
  }),
  noApp: (): Page => ({
    ...{ status: 502, title: 'No app here', link: again },
    text: 'Nothing listens on this port of the instance. The app may have ended, or not have begun.',
  }),
  reserved: (): Page => ({
    ...{ status: 403, title: 'Not an app' },
    text: 'This port belongs to the machine itself. Apps have others.',
  }),
  foreign: (): Page => ({
    ...{ status: 403, title: 'Refused', link: { href: '/', text: 'Open the start page' } },
    text: 'Another site tried to use this instance in your name.',
  }),
  unknownHost: (): Page => ({ status: 421, title: 'Not here', text: 'Nothing is served under this name.' }),
  badLogin: (): Page => ({
    ...{ status: 400, title: 'Not signed in', link: again },
    text: 'This sign-in is too old, was used before, or belongs to another browser. Begin again.',
  }),
  noUser: (): Page => ({
    ...{ status: 403, title: 'Not signed in' },
    text: 'Your account has no verified address that could be used here.',
  }),
  noIssuer: (): Page => ({
    ...{ status: 502, title: 'Not signed in', link: again },
    text: 'The sign-in service does not answer. Try again in a while.',
  }),
  account: (user: string): Page => ({
    ...{ status: 200, title: 'Your account', text: `Signed in as ${user}.` },
    form: { action: `${OWN_PATHS}logout`, text: 'Sign out' },
  }),
  signedOut: (): Page => ({
    ...{ status: 200, title: 'Signed out', link: { href: '/', text: 'Sign in again' } },
    text: 'You are signed out here. You may still be signed in to the sign-in service itself.',
  }),
};

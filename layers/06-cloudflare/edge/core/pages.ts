import escapeHtml from 'escape-html';

/** The proxy's own answers, for people. */
const PAGES = {
  'sign-in': { status: 401, title: 'Sign in', text: 'This is somebody’s own agent. Sign in to go on.' },
  'signed-out': {
    status: 200,
    title: 'Signed out',
    text: 'You are signed out here. Your provider may still know you.',
  },
  'not-yours': { status: 403, title: 'Not yours', text: 'There is nothing here that is yours or shared with you.' },
  'other-site': {
    status: 403,
    title: 'Not from there',
    text: 'Another site has asked for this in your name. Nothing was done.',
  },
  'no-such': { status: 404, title: 'No such place', text: 'Nothing has this address.' },
  starting: {
    status: 503,
    title: 'Starting',
    text: 'Your agent is starting. This page looks again every few seconds.',
  },
  unreachable: {
    status: 502,
    title: 'Unreachable',
    text: 'Your agent can’t be reached. Whoever runs it has been told why, in the log.',
  },
  'sign-in-failed': { status: 400, title: 'Not signed in', text: 'Signing in didn’t come to its end. Try again.' },
} as const;

export type Page = keyof typeof PAGES;

const STYLE = `:root{color-scheme:light dark}body{font:1.05rem/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center}
main{max-width:30rem;padding:2rem;text-align:center}h1{font-size:1.6rem;margin:0 0 .5rem}p{margin:.5rem 0 1.5rem}
a{display:inline-block;padding:.6rem 1.4rem;border-radius:.5rem;background:#0b57d0;color:#fff;text-decoration:none}a:focus-visible{outline:3px solid currentColor;outline-offset:3px}
small{color:GrayText}`;

/** Seconds between two looks of somebody who waits. */
const AGAIN_S = 5;

/**
 * @param link where its one link leads, with its words.
 * @param wantsPage else a word of JSON, for programs.
 */
export function page(
  name: Page,
  wantsPage: boolean,
  link?: { href: string; text: string },
  more: Record<string, string> = {},
): Response {
  const { status, title, text } = PAGES[name];
  const again = name === 'starting' ? { 'retry-after': String(AGAIN_S) } : {};
  const headers = {
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    ...again,
    ...more,
  };
  if (!wantsPage) return Response.json({ error: name.replaceAll('-', '_') }, { status, headers });
  const reload = name === 'starting' ? `<meta http-equiv="refresh" content="${AGAIN_S}">` : '';
  const way = link ? `<p><a href="${escapeHtml(link.href)}">${escapeHtml(link.text)}</a></p>` : '';
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title>${reload}<style>${STYLE}</style></head><body><main><h1>${title}</h1><p>${text}</p>${way}<small>Clawdy</small></main></body></html>`;
  const policy =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  return new Response(html, {
    status,
    headers: { ...headers, 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy },
  });
}

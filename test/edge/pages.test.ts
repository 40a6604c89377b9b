import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { type Browser, chromium, type Page } from 'playwright-core';
import { run } from '../../src/process/run.ts';
import { startNode } from './runtimes.ts';
import { makeWorld, OWNER, UI_DOMAIN } from './world.ts';

/** Screenshots, to look at. */
const EVIDENCE = join(import.meta.dirname, '../../dist/edge-pages');

const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];

async function launch(): Promise<Browser> {
  const found = await run('sh', ['-c', 'command -v chromium || command -v google-chrome'], { step: 'browser' });
  const args = [...ARGS, '--host-resolver-rules=MAP * 127.0.0.1'];
  return chromium.launch({ executablePath: found.stdout.trim(), args });
}

/** What a person needs to use a page: language, title, one heading that says the same, and nothing that was blocked. */
async function sound(page: Page) {
  const title = await page.title();
  return {
    title,
    heading: await page.getByRole('heading', { level: 1 }).textContent(),
    lang: await page.locator('html').getAttribute('lang'),
    /** The style was allowed by the page's own policy. */
    styled: await page.locator('main').evaluate((main) => getComputedStyle(main as never).borderRadius !== '0px'),
    fits: await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
  };
}

declare function getComputedStyle(element: never): { borderRadius: string };

test.serial('a person signs in, sees the pages, and signs out, in a browser', async (t) => {
  const world = await makeWorld();
  const started = await startNode(world);
  const browser = await launch();
  try {
    const { slug, code } = await world.instance('oidc');
    const base = `https://${slug}.${UI_DOMAIN}:${world.ports.oidc}`;
    const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 380, height: 640 } });
    const refused: string[] = [];
    page.on('console', (message) => /Content Security/.test(message.text()) && refused.push(message.text()));
    mkdirSync(EVIDENCE, { recursive: true });
    const look = async (title: string, file: string) => {
      const expected = { title, heading: title, lang: 'en', styled: true, fits: true };
      t.deepEqual(await sound(page), expected);
      t.false((await page.content()).includes(code));
      await page.screenshot({ path: join(EVIDENCE, `${file}.png`) });
    };
    await page.goto(`${base}/page?x=1`);
    await look('Sign in', 'sign-in');
    await page.getByRole('link', { name: 'Sign in' }).click();
    await page.waitForURL(`${base}/page?x=1`);
    t.is(await page.getByRole('heading').textContent(), 'An app');
    t.is(await page.evaluate('document.cookie'), '', 'no script reads the session');

    await page.goto(`${base}/starting`);
    await look('Starting', 'starting');
    t.is(await page.locator('meta[http-equiv=refresh]').getAttribute('content'), '10');
    await page.goto(`${base}/app-unreachable`);
    await look('No app here', 'no-app');
    for (const one of world.gate.codes.keys()) world.gate.codes.delete(one);
    await page.goto(`${base}/`);
    await look('Unreachable', 'unreachable');
    await page.goto(base.replace(slug, 'somebody-else'));
    await page.getByRole('link', { name: 'Sign in' }).click();
    await look('Not yours', 'not-yours');
    await page.goto(`${base}/.clawdy/`);
    await look('Your account', 'account');
    t.true(await page.getByText(`Signed in as ${OWNER}.`).isVisible());
    await page.getByRole('button', { name: 'Sign out' }).click();
    await look('Signed out', 'signed-out');
    await page.goto(`${base}/page`);
    await look('Sign in', 'sign-in-again');
    t.deepEqual(refused, []);
  } finally {
    await browser.close();
    await started.close();
    await world.close();
  }
});

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { sealEntry } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import type { Facts } from '../../src/contract/edge.ts';
import { run } from '../../src/process/run.ts';
import { OWNER, Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { startNode, startWorkerd } from '../edge/runtimes.ts';
import { APPS_DOMAIN, makeWorld, UI_DOMAIN, type World } from '../edge/world.ts';
import { IMAGE_DIR, userData } from '../image.ts';
import { LIVE, LIVE_LIMIT_MS, network, withBox } from './boxes.ts';
import { forward } from './forward.ts';

// The whole way: a real browser signs in, and comes through the auth proxy, in each of its places, and the image's own gate to the real
// OpenClaw. The provider is a fake; Cloudflare's network isn't there.

/** Kept with the image's other evidence. */
const EVIDENCE = join(IMAGE_DIR, 'evidence');
/** Without a display, as root, and without the calls home that a closed network would refuse. */
const CHROMIUM_ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const QUIET_ARGS = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
const NAMES = '--host-resolver-rules=MAP * 127.0.0.1';
/** Seconds. */
const SESSION_S = 60;
const APP = 'an app that the agent runs';

async function browserPath(): Promise<string> {
  const words = ['-c', 'command -v chromium || command -v chromium-browser || command -v google-chrome'];
  return (await run('sh', words, { step: 'browser' })).stdout.trim();
}

/** All that a page is sent over WebSockets, and how they end. */
function watch(page: Page): { frames: string[]; closedAt: number | undefined } {
  const seen = { frames: [] as string[], closedAt: undefined as number | undefined };
  page.on('websocket', (socket) => {
    socket.on('framereceived', ({ payload }) => seen.frames.push(String(payload)));
    socket.on('close', () => {
      seen.closedAt ??= Date.now();
    });
  });
  return seen;
}

// biome-ignore lint/performance/useDomNodeTextContent: what a person sees, not what is in the document
const textOf = (page: Page) => page.locator('body').innerText();

const PLACES = { worker: startWorkerd, node: startNode };

// Side by side: most of it is waiting for a session's end. A box that goes takes a network interface of this machine's with it,
// which ends a browser's connections: none goes before the last browser.
const browsing = new Set<string>();
let allBrowsed = () => {};
const noBrowsers = new Promise<void>((resolve) => {
  allBrowsed = resolve;
});
const browsed = (place: string) => {
  if (browsing.delete(place) && !browsing.size) allBrowsed();
};

// One after the other: two at once, beside two boxes' OpenClaw, would take both cores for longer than a page may.
let last: Promise<unknown> = Promise.resolve();
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const mine = last.then(work);
  last = mine.catch(() => undefined);
  return mine;
}

for (const [place, start] of Object.entries(PLACES))
  test(`a browser signs in at the auth proxy (${place}) and has its Control UI and its app; a stranger doesn’t`, async (t) => {
    browsing.add(place);
    t.teardown(() => browsed(place));
    const world = await makeWorld();
    const host = `alice.${UI_DOMAIN}:${world.ports.oidc}`;
    const app = `3000--alice.${APPS_DOMAIN}:${world.ports.oidc}`;
    const sources = [await network.hostAddress()];
    // The second name is what the gate is known by here.
    const owner = await Owner.create({ mode: 'direct', sources }, { hosts: [host, 'gate.test'] });
    for (const kind of ['certificate', 'key'] as const) writeFileSync(world.tls.client.files[kind], owner.client[kind]);
    const signedInAs = (email: string) => {
      world.issuer.claims = { sub: '1', email, email_verified: true };
    };
    mkdirSync(EVIDENCE, { recursive: true });
    const shot = (page: Page, name: string) => page.screenshot({ path: join(EVIDENCE, `edge-${place}-${name}.png`) });

    await withBox({ instanceId: 'i-edge', userData: userData({ ...owner.launch, launchId: 'edge' }) }, async (box) => {
      await waitForLine(box, LIVE, LIVE_LIMIT_MS);
      const access = await owner.open(await waitForLine(box, /clawdy: bundle end/), 'edge', 'i-edge');
      const page3000 = `<!doctype html><title>app</title><h1>${APP}</h1>`;
      await box.exec(`mkdir -p /var/tmp/app && echo '${page3000}' >/var/tmp/app/index.html`);
      await box.exec(
        'systemd-run --quiet --uid=7860 --gid=7860 python3 -m http.server -d /var/tmp/app --bind 127.0.0.1 3000',
      );
      // The box under the name that its certificate has.
      const way = await forward({ host: '127.0.0.1', port: 0 }, { host: box.addresses.v4, port: 443 });
      const { tls, gate } = world;
      const real: World = {
        ...{ ...world, gate: { ...gate, port: way.port } },
        tls: {
          ...tls,
          client: { ...tls.client, ...owner.client },
          gate: { ...tls.gate, certificate: access.certificate },
        },
        config: (mode) => ({ ...(world.config(mode) as object), sessionSeconds: SESSION_S }),
      };
      const started = await start(real);
      const browser = await chromium.launch({
        executablePath: await browserPath(),
        args: [...CHROMIUM_ARGS, ...QUIET_ARGS, NAMES],
      });
      const visitor = async (): Promise<[BrowserContext, Page]> => {
        const context = await browser.newContext({
          ignoreHTTPSErrors: true,
          viewport: { width: 1280, height: 800 },
        });
        return [context, await context.newPage()];
      };
      try {
        const facts: Facts = {
          ...{
            version: 1,
            slug: 'alice',
            revision: 1,
            state: 'live',
            instanceId: 'i-edge',
            owner: OWNER,
            shares: [],
            apps: [],
          },
          origin: { host: '127.0.0.1', port: way.port, certificate: access.certificate },
        };
        t.is((await world.put('oidc', await sealEntry(facts, access.code, world.secrets.keks))).status, 201);

        const { page, appPage, stranger, seen, began, liveAt } = await inTurn(async () => {
          signedInAs(OWNER);
          const [mine, page] = await visitor();
          const seen = watch(page);
          t.is((await page.goto(`https://${host}/`))?.status(), 401);
          await shot(page, 'sign-in');
          const began = Date.now();
          await page.getByRole('link', { name: 'Sign in' }).click();
          const live = () => seen.frames.some((frame) => frame.includes('hello-ok'));
          while (!live() && Date.now() < began + 45_000) await sleep(300);
          const liveAt = Date.now();
          await page.waitForTimeout(3000);
          await shot(page, 'control-ui');
          t.is(new URL(page.url()).host, host);
          // OpenClaw's answer to the UI's connect: `hello-ok` (docs/gateway/protocol.md of the runtime).
          t.true(live(), `${seen.frames.join('\n').slice(0, 2000)}\n${started.logs()}`);
          t.notRegex(await textOf(page), /pairing required|gateway token|proxy authentication required|disconnected/i);

          const appPage = await mine.newPage();
          t.is((await appPage.goto(`https://${app}/`))?.status(), 401, 'the UI’s session is no app’s');
          await appPage.getByRole('link', { name: 'Sign in' }).click();
          await appPage.getByText(APP).waitFor();
          await shot(appPage, 'app');

          signedInAs('stranger@example.com');
          const [, stranger] = await visitor();
          for (const to of [host, app]) {
            await stranger.goto(`https://${to}/`);
            await stranger.getByRole('link', { name: 'Sign in' }).click();
            await stranger.getByRole('heading', { name: 'Not yours' }).waitFor();
          }
          await shot(stranger, 'not-yours');
          return { page, appPage, stranger, seen, began, liveAt };
        });

        // The session ends, and with it what is open. It began between these two.
        while (!seen.closedAt && Date.now() < liveAt + (SESSION_S + 20) * 1000) await sleep(500);
        const closedAt = seen.closedAt ?? Number.NaN;
        t.true(closedAt > began + (SESSION_S - 5) * 1000, `${closedAt - began} ms`);
        t.true(closedAt < liveAt + (SESSION_S + 20) * 1000, `${closedAt - liveAt} ms`);
        t.is((await page.goto(`https://${host}/`))?.status(), 401);
        // The browser was never told the code, nor was anybody else.
        const told = [
          await page.content(),
          await appPage.content(),
          await stranger.content(),
          ...seen.frames,
          started.logs(),
        ].join('\n');
        t.false(told.includes(access.code));
      } finally {
        await browser.close();
        browsed(place);
        await noBrowsers;
        way.close();
        await started.close();
        await world.close();
      }
    });
  });

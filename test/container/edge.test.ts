import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { sealCode } from '../../layers/06-cloudflare/edge/core/envelope.ts';
import { type Entry, edgeConfigSchema } from '../../src/contract/edge.ts';
import { run } from '../../src/process/run.ts';
import { OWNER, Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { freePort, makeCertificates, type Place, startProxy } from '../edge/proxy.ts';
import { until } from '../edge/scene.ts';
import { startIssuer } from '../fakes/issuer.ts';
import { IMAGE_DIR, userData } from '../image.ts';
import { LIVE, LIVE_LIMIT_MS, network, withBox, work } from './boxes.ts';

// The whole way: a real browser signs in, and comes through the auth proxy, in each of its places, and the image's own gate to the real
// OpenClaw. The provider is a fake; Cloudflare's network isn't there.

/** Kept with the image's other evidence. */
const EVIDENCE = join(IMAGE_DIR, 'evidence');
/** Without a display, as root, and without the calls home that a closed network would refuse. */
const CHROMIUM_ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const QUIET_ARGS = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
const NAMES = '--host-resolver-rules=MAP *.ui.test 127.0.0.1,MAP *.apps.test 127.0.0.1';
/** Seconds; the least there is. */
const SESSION_S = 60;
const APP = 'an app that the agent runs';

async function browserPath(): Promise<string> {
  const words = ['-c', 'command -v chromium || command -v chromium-browser || command -v google-chrome'];
  return (await run('sh', words, { step: 'browser' })).stdout.trim();
}

/** The box under the name that its certificate has. */
async function forward(to: string): Promise<{ port: number; close: () => void }> {
  const server = createServer((socket) => {
    const other = connect(443, to);
    for (const [one, two] of [
      [socket, other],
      [other, socket],
    ] as const)
      one.on('error', () => two.destroy());
    socket.pipe(other).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as { port: number }).port, close: () => void server.close() };
}

/** All that a page is sent over WebSockets, and how they end. */
function watch(page: Page): { frames: string[]; closed: number } {
  const seen = { frames: [] as string[], closed: 0 };
  page.on('websocket', (socket) => {
    socket.on('framereceived', ({ payload }) => seen.frames.push(String(payload)));
    socket.on('close', () => {
      seen.closed++;
    });
  });
  return seen;
}

// biome-ignore lint/performance/useDomNodeTextContent: what a person sees, not what is in the document
const textOf = (page: Page) => page.locator('body').innerText();

for (const place of ['worker', 'node'] as Place[])
  test.serial(
    `a browser signs in at the auth proxy (${place}) and has its Control UI and its app; a stranger doesn’t`,
    async (t) => {
      const folder = mkdtempSync(join(work, 'edge-'));
      makeCertificates(folder);
      const [port, issuer] = [await freePort(), await startIssuer()];
      issuer.user = { email: OWNER, email_verified: true };
      const host = `alice.ui.test:${port}`;
      const app = `3000--alice.apps.test:${port}`;
      const sources = [await network.hostAddress()];
      const owner = await Owner.create({ mode: 'direct', sources }, { hosts: ['localhost', host] });
      writeFileSync(join(folder, 'client.crt'), owner.client.certificate);
      writeFileSync(join(folder, 'client.key'), owner.client.key);
      const launch = userData({ ...owner.launch, launchId: 'edge' });
      mkdirSync(EVIDENCE, { recursive: true });
      const shot = (page: Page, name: string) => page.screenshot({ path: join(EVIDENCE, `edge-${place}-${name}.png`) });

      await withBox({ instanceId: 'i-edge', userData: launch }, async (box) => {
        await waitForLine(box, LIVE, LIVE_LIMIT_MS);
        const access = await owner.open(await waitForLine(box, /clawdy: bundle end/), 'edge', 'i-edge');
        writeFileSync(join(folder, 'gate.crt'), access.certificate);
        const page3000 = `<!doctype html><title>app</title><h1>${APP}</h1>`;
        await box.exec(`mkdir -p /var/tmp/app && echo '${page3000}' >/var/tmp/app/index.html`);
        await box.exec(
          'systemd-run --quiet --uid=7860 --gid=7860 python3 -m http.server -d /var/tmp/app --bind 127.0.0.1 3000',
        );

        const config = edgeConfigSchema.parse({
          ...{ version: 1, uiDomain: 'ui.test', appsDomain: 'apps.test', port },
          session: { kind: 'oidc', issuer: issuer.url, clientId: 'client', seconds: SESSION_S, insecure: true },
        });
        const [token, key, session] = [1, 2, 3].map(() => randomBytes(32).toString('base64url')) as [
          string,
          string,
          string,
        ];
        const admin = createHash('sha256').update(token).digest('base64url');
        const log: string[] = [];
        const close = await startProxy(place, folder, config, { session, codes: { k: key }, admin }, (line) =>
          log.push(line),
        );
        const way = await forward(box.addresses.v4);
        const browser = await chromium.launch({
          executablePath: await browserPath(),
          args: [...CHROMIUM_ARGS, ...QUIET_ARGS, NAMES],
        });
        const contexts: BrowserContext[] = [];
        const visitor = async () => {
          const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
          contexts.push(context);
          return context.newPage();
        };
        try {
          const entry: Entry = {
            ...{
              version: 1,
              slug: 'alice',
              revision: 1,
              origin: `localhost:${way.port}`,
              certificate: access.certificate,
            },
            sealed: await sealCode('alice', access.code, 'k', { k: key }),
            ...{ owner: OWNER, shares: [], apps: [], revoked: false },
          };
          const operator = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
          const put = (change: Partial<Entry>) =>
            operator.request.put(`https://localhost:${port}/.clawdy/registry/alice`, {
              headers: { host: `auth.ui.test:${port}`, authorization: `Bearer ${token}` },
              ...{ data: { ...entry, ...change }, ignoreHTTPSErrors: true },
            });
          await until(async () => (await put({})).status() === 200);

          const page = await visitor();
          const seen = watch(page);
          t.is((await page.goto(`https://${host}/`))?.status(), 401);
          await shot(page, 'sign-in');
          await page.getByRole('link', { name: 'Sign in' }).click();
          const signedIn = Date.now();
          await until(async () => seen.frames.some((frame) => frame.includes('hello-ok')), 60_000).catch(async () => {
            t.log(log.join('\n'), await textOf(page));
          });
          await page.waitForTimeout(3000);
          await shot(page, 'control-ui');
          t.is(new URL(page.url()).host, host);
          // OpenClaw's answer to the UI's connect: `hello-ok` (docs/gateway/protocol.md of the runtime).
          t.true(
            seen.frames.some((frame) => frame.includes('hello-ok')),
            seen.frames.join('\n').slice(0, 2000),
          );
          t.notRegex(await textOf(page), /pairing required|gateway token|proxy authentication required|disconnected/i);

          const appPage = await (contexts[0] as BrowserContext).newPage();
          t.is((await appPage.goto(`https://${app}/`))?.status(), 401, 'the UI’s session is no app’s');
          await appPage.getByRole('link', { name: 'Sign in' }).click();
          await appPage.getByText(APP).waitFor();
          await shot(appPage, 'app');

          issuer.user = { email: 'stranger@example.com', email_verified: true };
          const stranger = await visitor();
          for (const to of [host, app]) {
            await stranger.goto(`https://${to}/`);
            await stranger.getByRole('link', { name: 'Sign in' }).click();
            await stranger.getByRole('heading', { name: 'Not yours' }).waitFor();
          }
          await shot(stranger, 'not-yours');

          // The session ends, and with it what is open.
          const open = seen.closed;
          await until(async () => seen.closed > open, (SESSION_S + 20) * 1000);
          t.true(Date.now() - signedIn > (SESSION_S - 5) * 1000, `${Date.now() - signedIn}`);
          t.is((await page.goto(`https://${host}/`))?.status(), 401);
          // The browser was never told the code, nor was anybody else.
          const told = [
            await page.content(),
            await appPage.content(),
            await stranger.content(),
            ...seen.frames,
            ...log,
          ].join('\n');
          t.false(told.includes(access.code));
        } finally {
          await browser.close();
          way.close();
          await close();
          await issuer.close();
        }
      });
    },
  );

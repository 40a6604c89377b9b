import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { chromium } from 'playwright-core';
import { run } from '../../src/process/run.ts';
import { OWNER, Owner } from '../../src/verify/owner.ts';
import { waitForLine } from '../../src/verify/stages/ready.ts';
import { ContainerTarget } from '../../src/verify/targets/container.ts';
import { IMAGE_DIR, userData } from '../image.ts';
import { startAuthProxy } from './auth-proxy.ts';
import { LIVE, LIVE_LIMIT_MS, network, tag, work } from './boxes.ts';

/** Kept with the image's other evidence. */
const SCREENSHOT = join(IMAGE_DIR, 'evidence', 'control-ui.png');

/** Without a display, as root, and without the calls home that a closed network would refuse. */
const CHROMIUM_ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const QUIET_ARGS = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];

async function browserPath(): Promise<string> {
  const { stdout } = await run(
    'sh',
    ['-c', 'command -v chromium || command -v chromium-browser || command -v google-chrome'],
    {
      step: 'browser',
    },
  );
  return stdout.trim();
}

test.serial('a browser behind an auth proxy opens the Control UI, connected, without token or pairing', async (t) => {
  const proxy = await startAuthProxy(work);
  const host = `localhost:${proxy.port}`;
  const owner = await Owner.create({ mode: 'direct', sources: [await network.hostAddress()] }, { hosts: [host] });
  const box = await ContainerTarget.boot({
    image: tag,
    network,
    instanceId: 'i-ui',
    userData: userData({ ...owner.launch, launchId: 'control-ui' }),
  });
  const browser = await chromium.launch({
    executablePath: await browserPath(),
    args: [...CHROMIUM_ARGS, ...QUIET_ARGS],
  });
  try {
    await waitForLine(box, LIVE, LIVE_LIMIT_MS);
    const access = await owner.open(await waitForLine(box, /clawdy: bundle end/), 'control-ui', 'i-ui');
    proxy.serve({ host: box.addresses.v4, ...access, client: owner.client, user: OWNER });

    const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
    const frames: string[] = [];
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => frames.push(String(payload)));
    });
    const answer = await page.goto(`https://${host}/`);
    t.is(answer?.status(), 200);
    // OpenClaw's answer to the UI's connect: `hello-ok` (docs/gateway/protocol.md of the runtime).
    const end = Date.now() + 60_000;
    while (!frames.some((frame) => frame.includes('hello-ok')) && Date.now() < end) await page.waitForTimeout(500);
    await page.waitForTimeout(3000);
    mkdirSync(join(IMAGE_DIR, 'evidence'), { recursive: true });
    await page.screenshot({ path: SCREENSHOT });
    // biome-ignore lint/performance/useDomNodeTextContent: what a person sees, not what is in the document
    const text = await page.locator('body').innerText();
    t.true(
      frames.some((frame) => frame.includes('hello-ok')),
      `${frames.join('\n').slice(0, 2000)}\n${text.slice(0, 500)}`,
    );
    t.notRegex(text, /pairing required|gateway token|proxy authentication required|disconnected/i);
    // The browser was never told the code.
    t.false((await page.content()).includes(access.code) || frames.some((frame) => frame.includes(access.code)));
  } finally {
    await browser.close();
    await proxy.close();
    await box.close();
  }
});

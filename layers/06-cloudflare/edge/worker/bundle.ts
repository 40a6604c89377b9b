import { join } from 'node:path';
import { build } from 'esbuild';

/** The day whose behaviour of Cloudflare's runtime is asked for: https://developers.cloudflare.com/workers/configuration/compatibility-dates/ */
export const COMPATIBILITY_DATE = '2026-11-01';

/** @returns the Worker as one module, the same for the same sources. */
export async function bundleWorker(): Promise<string> {
  const { outputFiles } = await build({
    ...{ entryPoints: [join(import.meta.dirname, 'index.ts')], bundle: true, write: false, format: 'esm' },
    ...{
      platform: 'neutral',
      mainFields: ['module', 'main'],
      conditions: ['workerd', 'worker', 'import'],
      target: 'es2024',
    },
    ...{ legalComments: 'none', logLevel: 'silent' },
  });
  return outputFiles[0]?.text as string;
}

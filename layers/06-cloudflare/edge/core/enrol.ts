/** Where boxes bring their sealed bundles (docs/enrolment.md): once, with a proof by the launch's token. Nothing here opens one. */

import { ENROL_LIMIT, type Enrolment, SEALED } from '../../../../src/contract/edge-enrolment.ts';
import { enrolRequestSchema, isEnrolProof } from '../../../../src/contract/enrolment.ts';
import { hexOf, jsonOf } from '../../../../src/contract/text.ts';
import { bodyOf } from './body.ts';
import { openToken } from './envelope.ts';
import { Stale } from './kinds.ts';
import { word } from './pages.ts';
import type { Runtime } from './runtime.ts';

/**
 * @param visitor the address that asks.
 * @returns 404 where the registry is KV's; 201 for the first bundle of a launch that is expected, 409 for that very one again; 403 for every other, whatever
 * the reason; 429 for who has tried too often.
 */
export async function enrol(runtime: Runtime, request: Request, visitor: string): Promise<Response> {
  const { enrolments } = runtime;
  if (!enrolments) return word(404, 'not_found');
  if (request.method !== 'POST') return word(405, 'method');
  if (!runtime.enrolRate.take(visitor, runtime.now())) {
    const refusal = word(429, 'too_many_tries');
    refusal.headers.set('retry-after', '60');
    return refusal;
  }
  const text = await bodyOf(request, ENROL_LIMIT);
  if (text === undefined) return word(413, 'too_large');
  const parsed = enrolRequestSchema.safeParse(jsonOf(text));
  if (!parsed.success) return word(400, 'bad_enrolment');
  const { launchId, instanceId, bundle, proof } = parsed.data;
  const sealed = Uint8Array.from(atob(bundle), (character) => character.charCodeAt(0));
  const sha256 = await sha256Of(sealed);
  const refused = (reason: string) => {
    runtime.log('enrol-refused', { launchId, reason });
    return word(403, 'not_expected');
  };

  const kept = await enrolments.get(launchId);
  if (!kept || kept.expires < runtime.now()) return refused('unknown');
  if (kept.state === 'closed') return kept.bundleSha256 === sha256 ? word(409, 'known') : refused('closed');
  const token = await openToken(kept, runtime.secrets.keks);
  if (!(await isEnrolProof(token, { launchId, instanceId, proof }, sha256))) return refused('proof');
  if (!SEALED.test(new TextDecoder('latin1').decode(sealed.subarray(0, 512)))) return word(400, 'not_sealed');

  const next = { ...kept, revision: 2, state: 'arrived', instanceId, bundle } as const;
  if (kept.state === 'arrived') return isSame(kept, next) ? word(409, 'known') : refused('second');
  try {
    await enrolments.put(next);
  } catch (error) {
    if (!(error instanceof Stale)) throw error;
    const first = await enrolments.get(launchId);
    return isSame(first, next) ? word(409, 'known') : refused('second');
  }
  runtime.log('enrolled', { launchId, instanceId });
  return word(201, 'taken');
}

const isSame = (kept: Enrolment | undefined, next: { bundle: string; instanceId: string }) =>
  kept?.state === 'arrived' && kept.bundle === next.bundle && kept.instanceId === next.instanceId;

async function sha256Of(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return hexOf(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)));
}

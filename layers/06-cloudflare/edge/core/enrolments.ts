/** An operator's side of enrolment, behind the admin's token: what launches are expected, what their boxes have brought. */

import {
  ENROL_LIMIT,
  ENROLMENTS_PATH,
  type Enrolment,
  LONGEST_EXPECTATION,
  type ToldEnrolment,
  writableEnrolmentSchema,
} from '../../../../src/contract/edge-enrolment.ts';
import { LAUNCH_ID } from '../../../../src/contract/enrolment.ts';
import { jsonOf } from '../../../../src/contract/text.ts';
import { bodyOf } from './body.ts';
import { openToken } from './envelope.ts';
import { Stale } from './kinds.ts';
import { OWN_HEADERS, word } from './pages.ts';
import type { Runtime, Store } from './runtime.ts';

/** GET and PUT of `/.clawdy/enrolments/<launch ID>`. */
export async function enrolments(runtime: Runtime, request: Request, url: URL): Promise<Response> {
  const { enrolments: store } = runtime;
  // KV would say for a minute more that a launch is expected.
  if (!store) return word(501, 'needs_durable_objects');
  const launchId = url.pathname.slice(ENROLMENTS_PATH.length);
  if (!LAUNCH_ID.test(launchId)) return word(404, 'not_found');
  if (request.method === 'GET') {
    const kept = await store.get(launchId);
    if (!kept || kept.expires < runtime.now()) return word(404, 'not_found');
    return told(200, kept);
  }
  if (request.method === 'PUT') return put(runtime, store, request, launchId);
  return word(405, 'method');
}

async function put(runtime: Runtime, store: Store<Enrolment>, request: Request, launchId: string): Promise<Response> {
  const parsed = writableEnrolmentSchema.safeParse(jsonOf(await bodyOf(request, ENROL_LIMIT)));
  const { success, data: next } = parsed;
  const soon = runtime.now() + LONGEST_EXPECTATION;
  if (!success || next.launchId !== launchId || next.expires > soon) return word(400, 'bad_enrolment');
  try {
    if (next.state === 'expected') await openToken(next, runtime.secrets.keks);
  } catch {
    return word(400, 'bad_seal');
  }
  try {
    await store.put(next);
  } catch (error) {
    if (error instanceof Stale) return word(409, 'stale');
    throw error;
  }
  runtime.log('enrolment', { launchId, state: next.state });
  return told(201, next);
}

function told(status: number, kept: Enrolment): Response {
  const { state, expires } = kept;
  const arrived = kept.state === 'arrived' ? { instanceId: kept.instanceId, bundle: kept.bundle } : {};
  return Response.json({ state, expires, ...arrived } satisfies ToldEnrolment, { status, headers: OWN_HEADERS });
}

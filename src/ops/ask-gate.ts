import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { GATE_HEADERS } from '../contract/gate.ts';
import type { InstanceRecord } from '../launch/records.ts';

/** Milliseconds; an emulated gate takes some seconds. */
const ANSWER_LIMIT_MS = 60_000;

/** What an operator asks the gate with; all are null where the gate is somebody else's to ask. */
export type GateAccess = Pick<
  InstanceRecord,
  'gate_url' | 'gate_certificate' | 'client_certificate' | 'client_key' | 'user'
>;

/**
 * Asks an instance's gate whether OpenClaw is ready, with a code. Nothing is sent before the gate has shown its very certificate.
 *
 * @returns the HTTP status; undefined where nothing answers, or another than this gate, or this operator can't ask.
 */
export async function askGate(access: GateAccess, code: string): Promise<number | undefined> {
  const { gate_url, gate_certificate, client_certificate, client_key, user } = access;
  if (!gate_url || !gate_certificate || !client_certificate || !client_key) return undefined;
  const wanted = new X509Certificate(gate_certificate).fingerprint256;
  const asking = request(new URL('/readyz', gate_url), {
    agent: false,
    cert: readFileSync(client_certificate),
    key: readFileSync(client_key),
    // It signed its certificate itself, for names that may not be the address; or a CA did (set-origin-cert).
    ca: gate_certificate,
    allowPartialTrustChain: true,
    checkServerIdentity: (_host, { fingerprint256 }) =>
      fingerprint256 === wanted ? undefined : new Error("the certificate isn't the gate's"),
    headers: { [GATE_HEADERS.code]: code, [GATE_HEADERS.user]: user },
    signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
  });
  try {
    const answered = once(asking, 'response') as Promise<[IncomingMessage]>;
    asking.end();
    const [response] = await answered;
    response.destroy();
    return response.statusCode;
  } catch {
    return undefined;
  }
}

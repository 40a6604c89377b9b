import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Fault } from '../fake.ts';
import type { Service } from './model.ts';
import { ApiError } from './wire.ts';

export function answer(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: string,
  requestId: string,
): void {
  response.writeHead(status, { ...headers, 'x-amzn-requestid': requestId, 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

export function inject(
  fault: Fault,
  request: IncomingMessage,
  response: ServerResponse,
  fail: (error: ApiError) => void,
): void {
  if (fault.kind === 'stall') return;
  if (fault.kind === 'reset') return void request.socket.destroy();
  if (fault.kind === 'error') {
    fail(new ApiError(fault.code, fault.message, fault.status));
    return;
  }
  response.writeHead(fault.status, { 'content-type': 'text/html', ...fault.headers });
  response.end(fault.body);
}

/** For errors before the signature was understood. */
export function serviceOf(request: IncomingMessage): Service {
  if (request.headers['x-amz-target']) return 'ssm';
  return request.url?.startsWith('/snapshots') ? 'ebs' : 'ec2';
}

/** @returns undefined when the client went away in the middle. */
export async function bodyOf(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of request) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  } catch {
    return undefined;
  }
}

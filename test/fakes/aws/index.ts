/**
 * AWS on a loopback port, as far as this project calls it: EC2, EBS direct and SSM, with state. Every call is decoded and
 * judged by AWS' own model, every signature is checked, and what boots are the bytes that were uploaded.
 */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { closeSync, createReadStream, mkdirSync, openSync, readSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { BLOCK_BYTES } from '../../../src/seal/digest.ts';
import type { FakeCloud, Hypervisor } from '../fake.ts';
import { askedBy } from './actions.ts';
import { authenticate, type Caller, type Credentials } from './auth.ts';
import { EBS } from './ebs.ts';
import { GROUPS } from './groups.ts';
import type { Handler } from './handler.ts';
import { answer, bodyOf, inject, serviceOf } from './http.ts';
import { IMAGES } from './images.ts';
import { end, INSTANCES } from './instances.ts';
import { judge, ModelError, type Operation, operationOf, operationsOf, type Service } from './model.ts';
import { refusedBy } from './policy.ts';
import { SSM } from './ssm.ts';
import { type Behaviour, type Region, State } from './state.ts';
import { TAGS } from './tags.ts';
import {
  ApiError,
  asApiError,
  errorBody,
  fromJson,
  fromQuery,
  fromRest,
  headersOf,
  parse,
  route,
  toJson,
  toXml,
  type Values,
} from './wire.ts';

const HANDLERS: Record<Service, Record<string, Handler>> = {
  ec2: { ...IMAGES, ...INSTANCES, ...GROUPS, ...TAGS },
  ebs: EBS,
  ssm: SSM,
};
const EBS_OPERATIONS = operationsOf('ebs');

export interface FakeAws extends FakeCloud {
  endpoint: string;
  credentials: Credentials;
  behaviour: Behaviour;
  /** IAM actions that the calls needed which weren't refused. */
  actions: Set<string>;
  region(name: string): Region;
  /** Everything that exists and costs, in all regions. */
  live(): { region: string; kind: 'image' | 'snapshot' | 'instance' | 'security-group' | 'parameter'; id: string }[];
  /** SHA-256 (hex) of the first bytes of the volume that an image's machines get. @throws Error when anything but zeros follows. */
  rawSha256(region: string, imageId: string, bytes: number): Promise<string>;
}

export interface FakeAwsOptions {
  hypervisor: Hypervisor;
  /** A folder for blocks and volumes. */
  dir: string;
  /** Default region of the clients. */
  region?: string;
}

/** Starts the fake. @returns it, with the environment by which the SDK and the CLI find it. */
export async function startFakeAws({ hypervisor, dir, region = 'eu-central-1' }: FakeAwsOptions): Promise<FakeAws> {
  mkdirSync(dir, { recursive: true });
  const behaviour: Behaviour = {
    looks: 1,
    denied: new Set(),
    policy: undefined,
    expired: false,
    skew: 0,
    encryptsByDefault: false,
    noCapacity: new Set(),
    givesAddresses: true,
    interfaceLingers: 0,
    pageSize: 1000,
    failNextImage: false,
    completesBlindly: false,
    keepSnapshots: undefined,
  };
  const credentials: Credentials = {
    accessKeyId: `AKIAFAKE${randomBytes(6).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString('base64'),
    sessionToken: randomBytes(90).toString('base64'),
  };
  const state = new State(dir, hypervisor, behaviour);
  const server = createServer((request, response) => {
    serve(request, response).catch((error) => {
      // A mistake of the fake itself must be seen, not be tried again as a fault at AWS.
      process.stderr.write(`fake AWS: ${error instanceof Error ? error.stack : String(error)}\n`);
      if (!response.headersSent) response.writeHead(418).end();
    });
  });
  server.keepAliveTimeout = 60_000;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    if (!body) return;
    const requestId = randomUUID();
    let service = serviceOf(request);
    const fail = (error: ApiError) => {
      const { type, body } = errorBody(service, error, requestId);
      answer(response, error.status, { 'content-type': type, 'x-amzn-errortype': error.code }, body, requestId);
    };
    try {
      const caller = authenticate(request, body, credentials, behaviour);
      service = caller.service;
      const { operation, decode } = understand(caller, request, body);
      const index = fake.calls.push(operation.name) - 1;
      const fault = fake.fault?.(operation.name, index);
      if (fault && !(fault.kind === 'reset' && fault.after)) return inject(fault, request, response, fail);
      try {
        const output = await perform(caller, operation, decode());
        await fake.onCall?.(operation.name, index);
        if (fault) return void request.socket.destroy();
        send(response, operation, output, requestId);
      } catch (error) {
        await fake.onCall?.(operation.name, index);
        throw error;
      }
    } catch (error) {
      if (error instanceof ModelError) return fail(asApiError(service, error));
      if (error instanceof ApiError) return fail(error);
      throw error;
    }
  }

  async function perform(caller: Caller, operation: Operation, input: Values): Promise<Values> {
    judge(caller.service, operation.input, input);
    const asked = askedBy(caller.service, operation.name, input, state, state.region(caller.region));
    const { denied, policy } = behaviour;
    const refused = asked.find(({ action }) => denied.has(action)) ?? (policy && refusedBy(policy, asked));
    const missing = refused && `${refused.action} on resource: ${refused.resource}`;
    if (missing)
      throw caller.service === 'ec2'
        ? new ApiError(
            'UnauthorizedOperation',
            `You are not authorized to perform: ${missing}. Encoded authorization failure message: ${randomBytes(200).toString('hex')}`,
            403,
          )
        : new ApiError(
            'AccessDeniedException',
            `User is not authorized to perform: ${missing}`,
            caller.service === 'ebs' ? 403 : 400,
          );
    for (const { action } of asked) fake.actions.add(action);
    if (input.DryRun)
      throw new ApiError('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.', 412);
    const handler = HANDLERS[caller.service][operation.name];
    if (!handler) throw new ApiError('UnsupportedOperation', `the fake doesn't do ${operation.name}`, 400);
    return handler({ state, region: state.region(caller.region) }, input);
  }

  const fake: FakeAws = {
    endpoint: '',
    credentials,
    behaviour,
    env: {},
    calls: [],
    actions: new Set(),
    onCall: undefined,
    fault: undefined,
    region: (name) => state.region(name),
    live: () =>
      [...state.regions.values()].flatMap(({ name, images, snapshots, instances, groups, parameters }) => [
        ...[...images.keys()].map((id) => ({ region: name, kind: 'image' as const, id })),
        ...[...snapshots.keys()].map((id) => ({ region: name, kind: 'snapshot' as const, id })),
        ...[...instances.values()]
          .filter(({ state }) => state !== 'terminated')
          .map(({ id }) => ({ region: name, kind: 'instance' as const, id })),
        ...[...groups.values()]
          .filter((group) => group.name !== 'default')
          .map(({ id }) => ({ region: name, kind: 'security-group' as const, id })),
        ...[...parameters.keys()].map((id) => ({ region: name, kind: 'parameter' as const, id })),
      ]),
    rawSha256: async (name, imageId, bytes) => {
      const { images, snapshots } = state.region(name);
      const snapshot = snapshots.get(images.get(imageId)?.snapshotId ?? '');
      if (!snapshot) throw new Error(`${imageId} has no snapshot in ${name}`);
      const file = join(dir, `${randomUUID()}.raw`);
      state.reassemble(snapshot, file);
      try {
        if (!isZeroFrom(file, bytes, snapshot.blocks.keys())) throw new Error('there is something behind the disk');
        const hash = createHash('sha256');
        for await (const chunk of createReadStream(file, { end: bytes - 1, highWaterMark: 4 << 20 }))
          hash.update(chunk as Buffer);
        return hash.digest('hex');
      } finally {
        rmSync(file);
      }
    },
    close: async () => {
      for (const { instances } of state.regions.values())
        for (const instance of instances.values()) await end(instance);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  fake.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  fake.env = {
    AWS_ENDPOINT_URL: fake.endpoint,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: credentials.sessionToken,
    // Nothing of the machine's own account, nor of a machine role.
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  return fake;
}

/** Which operation a request is, in the form of its service. */
function understand(
  { service }: Caller,
  request: IncomingMessage,
  body: Buffer,
): { operation: Operation; decode: () => Values } {
  const url = new URL(request.url ?? '/', 'http://fake');
  if (service === 'ec2') {
    const form = new URLSearchParams(body.toString('utf8'));
    const name = form.get('Action') ?? '';
    const operation = operationOf('ec2', name);
    if (!operation) throw new ApiError('InvalidAction', `The action ${name} is not valid for this web service.`);
    if (form.get('Version') !== '2016-11-15')
      throw new ApiError('InvalidParameterValue', 'the fake knows version 2016-11-15');
    return { operation, decode: () => fromQuery(operation, form) };
  }
  if (service === 'ebs') {
    const routed = route(EBS_OPERATIONS, request.method ?? '', url.pathname);
    if (!routed) throw new ApiError('UnknownOperationException', 'no such operation', 404);
    const { operation, labels } = routed;
    return {
      operation,
      decode: () => fromRest(operation, labels, url.searchParams, request.headers as Record<string, string>, body),
    };
  }
  const name = String(request.headers['x-amz-target'] ?? '').replace(/^AmazonSSM\./, '');
  const operation = operationOf('ssm', name);
  if (!operation) throw new ApiError('UnknownOperationException', `no operation ${name}`);
  return { operation, decode: () => fromJson(operation.input, parse(body), '') as Values };
}

function send(response: ServerResponse, operation: Operation, output: Values, requestId: string): void {
  const { service, name, http } = operation;
  if (service === 'ec2') {
    answer(response, 200, { 'content-type': 'text/xml;charset=UTF-8' }, toXml(operation, output, requestId), requestId);
    return;
  }
  const isHeader = (key: string) => operation.output.members().get(key)?.traits.httpHeader !== undefined;
  const inBody = Object.fromEntries(Object.entries(output).filter(([key]) => !isHeader(key)));
  const headers = {
    ...headersOf(operation, output),
    'content-type': service === 'ssm' ? 'application/x-amz-json-1.1' : 'application/json',
  };
  answer(response, http[2], headers, JSON.stringify(toJson(operation.output, inBody, name)), requestId);
}

/** Whether the blocks of a volume hold nothing behind the disk; what was never put is a hole. */
function isZeroFrom(file: string, bytes: number, blocks: Iterable<number>): boolean {
  const fd = openSync(file, 'r');
  try {
    return [...blocks].every((index) => {
      const from = Math.max(bytes, index * BLOCK_BYTES);
      const length = (index + 1) * BLOCK_BYTES - from;
      if (length <= 0) return true;
      const rest = Buffer.alloc(length);
      readSync(fd, rest, 0, length, from);
      return rest.equals(Buffer.alloc(length));
    });
  } finally {
    closeSync(fd);
  }
}

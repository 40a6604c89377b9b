import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Service } from './model.ts';
import type { Behaviour } from './state.ts';
import { ApiError } from './wire.ts';

/** What the fake's clients sign with; made for each fake, so that finding them anywhere else is a leak. */
export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
}

/** AWS takes requests that are at most five minutes off. */
const SKEW_MS = 5 * 60_000;

export interface Caller {
  service: Service;
  region: string;
}

const SERVICES: readonly string[] = ['ec2', 'ebs', 'ssm'] satisfies Service[];

/**
 * Checks a signature of version 4 whole: scope, time, token, and the HMAC over request and body.
 * @throws ApiError, in the service's own codes.
 */
export function authenticate(
  request: IncomingMessage,
  body: Buffer,
  credentials: Credentials,
  behaviour: Behaviour,
): Caller {
  const header = request.headers.authorization ?? '';
  const match = header.match(
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([a-z0-9-]+)\/([a-z0-9]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/,
  );
  if (!match) throw new ApiError('MissingAuthenticationToken', 'Request is missing Authentication Token', 403);
  const [, key, day, region, service, signed, signature] = match as unknown as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  if (!SERVICES.includes(service)) throw new ApiError('SignatureDoesNotMatch', `no service ${service} here`, 403);
  const isEc2 = service === 'ec2';
  if (key !== credentials.accessKeyId || request.headers['x-amz-security-token'] !== credentials.sessionToken)
    throw isEc2
      ? new ApiError('AuthFailure', 'AWS was not able to validate the provided access credentials', 401)
      : new ApiError('UnrecognizedClientException', 'The security token included in the request is invalid.', 403);
  const date = String(request.headers['x-amz-date'] ?? '');
  const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  const now = Date.now() + behaviour.skew;
  if (Number.isNaN(at) || Math.abs(at - now) > SKEW_MS)
    throw isEc2
      ? new ApiError(
          'RequestExpired',
          `Request has expired. Timestamp date is ${date}. Current date is ${new Date(now).toISOString()}`,
        )
      : new ApiError(
          'InvalidSignatureException',
          `Signature expired: ${date} is now earlier than ${new Date(now).toISOString()}`,
          403,
        );
  if (behaviour.expired)
    throw isEc2
      ? new ApiError('RequestExpired', 'Request has expired.')
      : new ApiError('ExpiredTokenException', 'The security token included in the request is expired', 403);
  const expected = signatureOf(request, body, signed.split(';'), {
    secret: credentials.secretAccessKey,
    date,
    day,
    region,
    service,
  });
  if (expected !== signature)
    // As AWS does, it quotes what it signed, session token and all: whoever prints that tells a secret.
    throw new ApiError(
      isEc2 ? 'SignatureDoesNotMatch' : 'InvalidSignatureException',
      `The request signature we calculated does not match. x-amz-security-token:${credentials.sessionToken}`,
      403,
    );
  return { service: service as Service, region };
}

function signatureOf(
  request: IncomingMessage,
  body: Buffer,
  signed: string[],
  {
    secret,
    date,
    day,
    region,
    service,
  }: { secret: string; date: string; day: string; region: string; service: string },
): string {
  const url = new URL(request.url ?? '/', 'http://fake');
  const query = [...url.searchParams]
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join('&');
  const headers = signed
    .map(
      (name) =>
        `${name}:${String(request.headers[name] ?? '')
          .trim()
          .replace(/ +/g, ' ')}\n`,
    )
    .join('');
  const actual = createHash('sha256').update(body).digest('hex');
  const claimed = request.headers['x-amz-content-sha256'];
  const hash = claimed === 'UNSIGNED-PAYLOAD' ? claimed : actual;
  const canonical = [request.method, url.pathname, query, headers, signed.join(';'), hash].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', date, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const hmac = (secretKey: string | Buffer, data: string) => createHmac('sha256', secretKey).update(data).digest();
  const signing = [region, service, 'aws4_request'].reduce(
    hmac as (key: Buffer, part: string) => Buffer,
    hmac(`AWS4${secret}`, day),
  );
  return hmac(signing, text).toString('hex');
}

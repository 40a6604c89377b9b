import { BuildError, EXIT } from '../../process/errors.ts';
import type { Judgement } from '../retry.ts';

interface AwsError {
  name?: string;
  code?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number };
  $response?: { statusCode?: number; headers?: Record<string, string> };
}

/** Name of the error for an answer under status 200 that isn't AWS'. */
export const FOREIGN = 'ForeignAnswer';

/** What may go through later, and why. */
const AGAIN: Record<string, string> = {
  // EC2's answer to too many calls of one account in one region; its bucket fills again by itself.
  RequestLimitExceeded: 'throttled',
  // The same, as older and shared front ends of AWS say it.
  Throttling: 'throttled',
  ThrottlingException: 'throttled',
  TooManyRequestsException: 'throttled',
  // EBS direct: more than 1,000 blocks a second; a 400, so its status alone doesn't tell.
  RequestThrottledException: 'throttled',
  // EBS direct, RegisterImage, CopyImage: too many at the same time; a place becomes free when another one ends.
  ConcurrentLimitExceededException: 'too many at once',
  ConcurrentSnapshotLimitExceeded: 'too many at once',
  // Two writers of one parameter; the other one is done in a moment.
  TooManyUpdates: 'another writer',
  // AWS' own faults, which its documentation asks to be tried again.
  InternalError: 'a fault at AWS',
  InternalFailure: 'a fault at AWS',
  InternalServerException: 'a fault at AWS',
  InternalServerError: 'a fault at AWS',
  Unavailable: 'a fault at AWS',
  ServiceUnavailable: 'a fault at AWS',
  ServiceUnavailableException: 'a fault at AWS',
  // AWS gave up waiting for our bytes: a slow or broken line.
  RequestTimeout: 'the line is slow',
  RequestTimeoutException: 'the line is slow',
  // A captive portal or a proxy answered; it may let us through later.
  [FOREIGN]: "an answer that isn't AWS'",
  // Our own limits (times.ts): nothing came.
  TimeoutError: 'no answer',
  // The connection: closed by a middle box or a server that is going away.
  ECONNRESET: 'connection lost',
  EPIPE: 'connection lost',
  ECONNREFUSED: 'no connection',
  ECONNABORTED: 'connection lost',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'no route',
  ENETUNREACH: 'no route',
  // The resolver didn't answer; ENOTFOUND, by contrast, is an answer.
  EAI_AGAIN: 'no answer from DNS',
};

/** Asked about something that was made a moment ago: AWS' other servers don't know it yet. */
const FRESH = new Set([
  'ResourceNotFoundException',
  'InvalidSnapshot.NotFound',
  'InvalidAMIID.NotFound',
  'InvalidAMIID.Unavailable',
  'InvalidInstanceID.NotFound',
  'InvalidInstanceID',
  'InvalidGroup.NotFound',
]);

const GONE = new Set([
  'ResourceNotFoundException',
  'InvalidSnapshot.NotFound',
  'InvalidAMIID.NotFound',
  'InvalidAMIID.Unavailable',
  'InvalidInstanceID.NotFound',
  'InvalidGroup.NotFound',
  'ParameterNotFound',
]);

interface Hint {
  hint: string;
  exitCode: number;
  /** The API's words aren't shown: they can quote the request with its session token. */
  mute?: boolean;
}

const renew: Hint = {
  hint: 'log in again (aws sso login, or new keys), then run the same command: it goes on where it was',
  exitCode: EXIT.prerequisite,
  mute: true,
};
const keys: Hint = {
  hint: "check access key, secret key and session token (environment, profile), and this machine's clock: AWS doesn't accept them",
  exitCode: EXIT.prerequisite,
  mute: true,
};
const clock: Hint = {
  hint: "set this machine's clock (timedatectl set-ntp true): AWS refuses requests that are minutes off",
  exitCode: EXIT.prerequisite,
  mute: true,
};
const garbled: Hint = {
  hint: 'a block arrived with other bytes than were sent: look for a proxy on the way or bad memory, then run the same command again',
  exitCode: EXIT.failed,
  mute: true,
};
const permission: Hint = {
  hint: 'give the role what docs/clouds/aws-policy.json allows (to launch: aws-launch-policy.json); npm run doctor -- --cloud aws (and your --region) names what is missing',
  exitCode: EXIT.prerequisite,
};

/** What never goes through by itself, with what a person can do. */
const HINTS: Record<string, Hint> = {
  AccessDenied: permission,
  AccessDeniedException: permission,
  UnauthorizedOperation: permission,
  OptInRequired: { hint: 'the account has to opt in to this region or service first', exitCode: EXIT.prerequisite },
  ExpiredToken: renew,
  ExpiredTokenException: renew,
  TokenRefreshRequired: renew,
  AuthFailure: keys,
  InvalidClientTokenId: keys,
  UnrecognizedClientException: keys,
  MissingAuthenticationToken: keys,
  MissingAuthenticationTokenException: keys,
  SignatureDoesNotMatch: keys,
  InvalidSignatureException: keys,
  IncompleteSignature: keys,
  // EC2's word for a session that ran out; when it is the clock it says so (isClock).
  RequestExpired: renew,
  RequestTimeTooSkewed: clock,
  RequestInTheFuture: clock,
  CredentialsProviderError: {
    hint: 'export AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; docs/clouds/aws.md shows the ways',
    exitCode: EXIT.input,
  },
  ENOTFOUND: { hint: 'is the region spelt right, and does this machine resolve names?', exitCode: EXIT.input },
  ServiceQuotaExceededException: {
    hint: 'raise the quota, or end pending snapshots: prune --plan lists ours',
    exitCode: EXIT.failed,
  },
  SnapshotLimitExceeded: { hint: 'raise the quota for snapshots, or prune', exitCode: EXIT.failed },
  PendingSnapshotLimitExceeded: { hint: 'wait for pending snapshots, or prune', exitCode: EXIT.failed },
  VcpuLimitExceeded: { hint: 'raise the quota for running on-demand instances by 2 vCPUs', exitCode: EXIT.failed },
  InstanceLimitExceeded: { hint: 'raise the quota for running on-demand instances', exitCode: EXIT.failed },
  // Of a machine that is switched on again: it stays in its zone.
  InsufficientInstanceCapacity: {
    hint: 'its zone has no such machine at the moment: run the same command later',
    exitCode: EXIT.failed,
  },
  SecurityGroupLimitExceeded: { hint: 'raise the quota for security groups of a VPC', exitCode: EXIT.failed },
  RulesPerSecurityGroupLimitExceeded: {
    hint: 'let in fewer networks, or raise the quota for rules of a security group',
    exitCode: EXIT.failed,
  },
  MissingInput: { hint: 'this region needs a default VPC: aws ec2 create-default-vpc', exitCode: EXIT.prerequisite },
  VPCIdNotSpecified: {
    hint: 'this region needs a default VPC: aws ec2 create-default-vpc',
    exitCode: EXIT.prerequisite,
  },
  OperationNotPermitted: {
    hint: 'is the image protected against deregistering? aws ec2 disable-image-deregistration-protection',
    exitCode: EXIT.failed,
  },
};

/** The API's code of an error, or the operating system's. */
export function codeOf(error: unknown): string {
  const { name, code } = (error ?? {}) as AwsError;
  if (code && /^E[A-Z_]+$/.test(code)) return code;
  return String(name ?? 'unknown');
}

/** Whether what was asked about isn't there (any more). */
export function isGone(error: unknown): boolean {
  return GONE.has(codeOf(error));
}

/** Refused for want of a permission; so is what names something that is gone, where a policy goes by labels: none are left. */
export function isDenied(error: unknown): boolean {
  return HINTS[codeOf(error)] === permission;
}

/** @param fresh what was asked about was made moments ago. */
export function judge(error: unknown, fresh: boolean): Judgement {
  const code = codeOf(error);
  const { $metadata, $response } = (error ?? {}) as AwsError;
  const status = $metadata?.httpStatusCode ?? $response?.statusCode ?? 0;
  if (hintOf(error)) return { again: false };
  const afterMs = Number($response?.headers?.['retry-after']) * 1000 || undefined;
  if (AGAIN[code]) return { again: true, reason: AGAIN[code], afterMs };
  if (fresh && FRESH.has(code)) return { again: true, reason: 'not known everywhere yet', afterMs };
  // A gateway before AWS that throttles; AWS' own throttling has a code.
  if (status === 429) return { again: true, reason: 'throttled', afterMs };
  // A fault at AWS or before it, whatever it says; also the HTML of a gateway.
  if (status >= 500) return { again: true, reason: `answer ${status}`, afterMs };
  // HTML under a status that promises an answer of the API: something on the way answered, not AWS.
  if (isForeign(error)) return { again: true, reason: "an answer that isn't AWS'", afterMs };
  return { again: false };
}

/** An error for a person: code and AWS' own words, without anything of the request. */
export function explain(error: unknown, what: string): BuildError {
  const code = codeOf(error);
  const known = hintOf(error);
  const message = (error as AwsError)?.message;
  const said = known?.mute || !message || isForeign(error) ? '' : `: ${clean(message)}`;
  const hint =
    known?.hint ??
    (AGAIN[code] ? 'it was tried again for minutes: run the same command later' : 'run the same command again');
  return new BuildError('aws', `${what}: ${nameOf(error, code)}${said}`, hint, {
    exitCode: known?.exitCode ?? EXIT.failed,
    forAll: known === renew || known === keys || known === clock,
  });
}

function nameOf(error: unknown, code: string): string {
  if (!isForeign(error)) return code;
  const { $metadata, $response } = error as AwsError;
  return `an answer that isn't AWS' (status ${$metadata?.httpStatusCode ?? $response?.statusCode ?? 'unknown'})`;
}

/** The answer couldn't be read as the API's: the SDK's own errors of parsing. */
function isForeign(error: unknown): boolean {
  const { name, message, $response } = (error ?? {}) as AwsError;
  if (!$response) return false;
  return (
    name === 'SyntaxError' ||
    name === 'Unknown' ||
    name === 'UnknownError' ||
    /Deserialization error|not valid JSON/.test(message ?? '')
  );
}

function hintOf(error: unknown): Hint | undefined {
  if (isClock(error)) return clock;
  return isGarbled(error) ? garbled : HINTS[codeOf(error)];
}

/**
 * EBS has the code of a wrong signature for a block that doesn't match its checksum. A wrong signature itself may be
 * explained by quoting all that was signed, where the header's name is in small letters.
 */
function isGarbled(error: unknown): boolean {
  const { name, message } = (error ?? {}) as AwsError;
  return name === 'InvalidSignatureException' && /x-amz-Checksum/.test(message ?? '');
}

/** Services that have one code for several causes say in words that it was the clock. */
function isClock(error: unknown): boolean {
  const { name, message } = (error ?? {}) as AwsError;
  const words = {
    InvalidSignatureException: /Signature (expired|not yet current)/,
    SignatureDoesNotMatch: /Signature (expired|not yet current)/,
    RequestExpired: /Timestamp date/,
  };
  return words[name as keyof typeof words]?.test(message ?? '') ?? false;
}

/** One line, without what AWS encodes for its own support and without anything as long as a token. */
function clean(message: string): string {
  return message
    .replace(/Encoded authorization failure message:.*/s, '')
    .replace(/[A-Za-z0-9+/=_-]{60,}/g, '…')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 300);
}

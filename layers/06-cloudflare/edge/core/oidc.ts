/**
 * The auth host's part of signing in with an OIDC issuer: authorization code with PKCE, state and nonce, by oauth4webapi. It
 * keeps no session of its own; the issuer has one.
 */
import * as oauth from 'oauth4webapi';
import { OWN_PATHS, type SignIn } from '../../../../src/contract/edge.ts';
import { COOKIES, ourCookie, readCookie } from './cookies.ts';
import { LOGIN_SECONDS } from './login.ts';
import { PAGES, page, redirect } from './pages.ts';
import { authHost, placeOf } from './place.ts';
import type { Runtime } from './runtime.ts';
import { type Opened, open, seal } from './sealed.ts';
import { verifyToken } from './tokens.ts';

type Oidc = Extract<SignIn, { mode: 'oidc' }>;

/** Seconds from the ticket's redirect to its arrival. */
const TICKET_SECONDS = 60;

/** Milliseconds that an issuer's metadata is believed, and that it may take to answer. */
const METADATA_MS = 600_000;
const ISSUER_MS = 10_000;

const metadata = new Map<string, { server: oauth.AuthorizationServer; until: number }>();

const redirectUri = ({ config }: Runtime) => `https://${authHost(config)}${OWN_PATHS}callback`;

/** Options of every call to the issuer. */
const calling = ({ fetch }: Runtime) => ({
  [oauth.customFetch]: (url: string, init: object) => fetch(url, init as RequestInit),
  signal: () => AbortSignal.timeout(ISSUER_MS),
});

async function discover(runtime: Runtime, signIn: Oidc): Promise<oauth.AuthorizationServer> {
  const known = metadata.get(signIn.issuer);
  if (known && known.until > runtime.now() * 1000) return known.server;
  const issuer = new URL(signIn.issuer);
  const response = await oauth.discoveryRequest(issuer, calling(runtime));
  const server = await oauth.processDiscoveryResponse(issuer, response);
  metadata.set(signIn.issuer, { server, until: runtime.now() * 1000 + METADATA_MS });
  return server;
}

const clientOf = (signIn: Oidc): oauth.Client => ({
  client_id: signIn.clientId,
  id_token_signed_response_alg: signIn.algorithm,
});

function clientAuth(secret: string | undefined, server: oauth.AuthorizationServer): oauth.ClientAuth {
  if (!secret) return oauth.None();
  const posts = server.token_endpoint_auth_methods_supported?.includes('client_secret_post');
  return posts ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
}

/** Sends a browser to the issuer, for the host that asks. */
export async function authorize(runtime: Runtime, signIn: Oidc, url: URL): Promise<Response> {
  const { config, secrets } = runtime;
  const host = url.searchParams.get('host') ?? '';
  const bind = url.searchParams.get('bind') ?? '';
  const wanted = URL.canParse(`https://${host}/`) ? placeOf(new URL(`https://${host}/`), config) : undefined;
  const instances = wanted?.kind === 'ui' || wanted?.kind === 'app';
  if (!instances || wanted.host !== host || !/^[\w-]{43}$/.test(bind)) return page(PAGES.badLogin());
  let server: oauth.AuthorizationServer;
  try {
    server = await discover(runtime, signIn);
  } catch (error) {
    return noIssuer(runtime, error);
  }
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()];
  const verifier = oauth.generateRandomCodeVerifier();
  const claims = { host, bind, state, nonce, verifier };
  const sealed = await seal(secrets.sessionKeys, 'authorize', authHost(config), claims, runtime.now(), LOGIN_SECONDS);
  const to = new URL(server.authorization_endpoint as string);
  const query = {
    ...{ client_id: signIn.clientId, redirect_uri: redirectUri(runtime), response_type: 'code', scope: signIn.scope },
    ...{
      state,
      nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    },
  };
  for (const [name, value] of Object.entries(query)) to.searchParams.set(name, value);
  return redirect(to.href, [ourCookie(COOKIES.login, sealed, LOGIN_SECONDS)]);
}

/** Takes a browser back from the issuer, and sends it on with a ticket. */
export async function callback(runtime: Runtime, signIn: Oidc, request: Request, url: URL): Promise<Response> {
  const { config, secrets } = runtime;
  const forget = ourCookie(COOKIES.login, '', 0);
  const cookie = readCookie(request.headers, COOKIES.login);
  const begun = await open(secrets.sessionKeys, 'authorize', authHost(config), cookie, runtime.now());
  if (!begun) return page(PAGES.badLogin(), false, [forget]);
  let user: string | undefined;
  try {
    const server = await discover(runtime, signIn);
    const parameters = oauth.validateAuthResponse(server, clientOf(signIn), url, begun.state);
    // Each login is answered once, whoever has its cookie.
    if (!(await runtime.spent.spend(begun.id, begun.expires))) return page(PAGES.badLogin(), false, [forget]);
    user = await exchange(runtime, signIn, server, parameters, begun);
  } catch (error) {
    const code = refusal(error);
    if (code === undefined) return noIssuer(runtime, error);
    runtime.log('login-refused', { code });
    return page(PAGES.badLogin(), false, [forget]);
  }
  if (!user) return page(PAGES.noUser(), false, [forget]);
  const { host, bind } = begun;
  const ticket = await seal(secrets.sessionKeys, 'ticket', host, { user, bind }, runtime.now(), TICKET_SECONDS);
  return redirect(`https://${host}${OWN_PATHS}session?ticket=${ticket}`, [forget]);
}

async function exchange(
  runtime: Runtime,
  signIn: Oidc,
  server: oauth.AuthorizationServer,
  parameters: URLSearchParams,
  { nonce, verifier }: Opened<'authorize'>,
): Promise<string | undefined> {
  const client = clientOf(signIn);
  const auth = clientAuth(runtime.secrets.clientSecret, server);
  const uri = redirectUri(runtime);
  const asked = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    auth,
    parameters,
    uri,
    verifier,
    calling(runtime),
  );
  const said = { expectedNonce: nonce, requireIdToken: true };
  const { id_token } = await oauth.processAuthorizationCodeResponse(server, client, asked, said);
  // oauth4webapi rests on TLS for what the token endpoint says; the signature is checked too.
  const verified = await verifyToken(runtime, signIn, id_token ?? '', server.jwks_uri ?? '', signIn.clientId);
  return verified?.user;
}

/** @returns why this login isn't one; undefined for a fault of the issuer's or ours, a wrong client secret among them. */
function refusal(error: unknown): string | undefined {
  if (error instanceof oauth.AuthorizationResponseError) return error.error;
  if (error instanceof oauth.ResponseBodyError) return error.error === 'invalid_grant' ? error.error : undefined;
  return error instanceof oauth.OperationProcessingError ? (error.code ?? 'unknown') : undefined;
}

function noIssuer(runtime: Runtime, error: unknown): Promise<Response> {
  runtime.log('issuer-unreachable', { reason: error instanceof Error ? error.name : 'unknown' });
  return page(PAGES.noIssuer());
}

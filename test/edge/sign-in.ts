import type { JWTPayload } from 'jose';
import type { Answer } from './call.ts';
import { AUDIENCES, type Mode, OWNER, UI_DOMAIN, type World } from './world.ts';

/** Cookies of one browser, by host. */
export class Browser {
  readonly jar = new Map<string, Map<string, string>>();
  readonly #world: World;
  readonly #mode: Mode;
  constructor(world: World, mode: Mode) {
    this.#world = world;
    this.#mode = mode;
  }

  cookies(host: string): string {
    return [...(this.jar.get(host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  /** Keeps what is set, as browsers do. */
  async get(host: string, path: string, headers: Record<string, string> = {}): Promise<Answer> {
    const cookie = this.cookies(host);
    const all = { accept: 'text/html', ...(cookie ? { cookie } : {}), ...headers };
    const answer = await this.#world.call(this.#mode, host, path, { headers: all });
    for (const set of answer.headers['set-cookie'] ?? []) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? [];
      const own = this.jar.get(host) ?? new Map<string, string>();
      if (/max-age=0/i.test(set)) own.delete(name);
      else own.set(name, value);
      this.jar.set(host, own);
    }
    return answer;
  }

  /** The way from a host's login to the ticket's URL, which isn't followed. */
  async ticket(host: string, back: string): Promise<URL> {
    const begun = await this.get(host, `/.clawdy/login?back=${encodeURIComponent(back)}`);
    const auth = new URL(begun.headers.location ?? '');
    const sent = await this.get(`auth.${UI_DOMAIN}`, `${auth.pathname}${auth.search}`);
    const issuer = new URL(sent.headers.location ?? '');
    const code = await this.visitIssuer(issuer);
    const back2 = await this.get(`auth.${UI_DOMAIN}`, `${code.pathname}${code.search}`);
    return new URL(back2.headers.location ?? 'https://none.invalid/');
  }

  /** @returns where the issuer sends somebody back to. */
  async visitIssuer(url: URL): Promise<URL> {
    const { request } = await import('node:https');
    return new Promise((resolve, reject) => {
      const asked = request(url, { ca: this.#world.tls.issuer.certificate, agent: false }, (answer) => {
        answer.resume();
        resolve(new URL(answer.headers.location ?? 'https://none.invalid/'));
      });
      asked.on('error', reject);
      asked.end();
    });
  }

  /** @returns where the browser lands. */
  async signIn(host: string, back = '/'): Promise<string> {
    const ticket = await this.ticket(host, back);
    const answer = await this.get(host, `${ticket.pathname}${ticket.search}`);
    return answer.headers.location ?? `${answer.status}`;
  }
}

/** Headers with which somebody is signed in on a host, by the mode's own way. */
export async function signedIn(world: World, mode: Mode, host: string, user = OWNER, claims: JWTPayload = {}) {
  if (mode === 'access') {
    const aud = host.endsWith(UI_DOMAIN) ? AUDIENCES.ui : AUDIENCES.apps;
    return { 'cf-access-jwt-assertion': await world.issuer.sign({ aud, email: user, ...claims }) };
  }
  world.issuer.claims = { sub: '1', email: user, email_verified: true };
  const browser = new Browser(world, mode);
  await browser.signIn(host);
  return { cookie: browser.cookies(host) };
}

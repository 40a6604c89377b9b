import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { makeClientCa, type Unfit } from '../launch/client-ca.ts';
import { bundleFromConsole } from '../launch/console-bundle.ts';
import { openBundle } from '../launch/open-bundle.ts';
import { BuildError } from '../process/errors.ts';
import { putAll } from './targets/put-all.ts';
import type { Peer } from './targets/target.ts';

/** Where a peer keeps what an auth proxy holds; test/attacks/gate reads it there. */
export const HELD = '/var/tmp/auth-proxy';

/** The user that claims ask as. */
export const OWNER = 'owner@example.com';

/** A box's code, and the certificate that its gate shows. */
export interface GateAccess {
  code: string;
  certificate: string;
}

/** What a client shows, PEM. */
interface Client {
  certificate: string;
  key: string;
}

/** What our own CA issued, and no gate may take all the same. */
const UNFIT: Unfit[] = [
  { name: 'expired', extensions: 'client', days: '-1' },
  { name: 'server', extensions: 'server', days: '1' },
];

/** Who may reach 443: Cloudflare, the auth proxy at these addresses, or nobody where requests come by a tunnel. */
export type Front = { mode: 'cloudflare' } | { mode: 'tunnel' } | { mode: 'direct'; sources: string[] };

/** The owner of the boxes that tests attack: launches them and learns their codes as a launcher does. */
export class Owner {
  /** Age identity that boxes seal their codes to. */
  readonly identity: string;
  readonly #token = randomBytes(32).toString('base64url');
  readonly #launch: Record<string, unknown>;
  readonly client: Client;
  /** By their names: `foreign`, alike but of a CA that no box of ours was told of, and those of UNFIT. */
  readonly #unfit: Record<string, Client>;

  private constructor(
    identity: string,
    launch: Record<string, unknown>,
    client: Client,
    unfit: Record<string, Client>,
  ) {
    this.identity = identity;
    this.#launch = launch;
    this.client = client;
    this.#unfit = unfit;
  }

  /** @param more further members of launch.json. */
  static async create(front: Front, more: Record<string, unknown> = {}): Promise<Owner> {
    const identity = await generateX25519Identity();
    const [client, foreign] = [await makeClient(UNFIT), await makeClient()];
    const clientCa = [client.caDer];
    const material = {
      cloudflare: { cloudflare: { clientCa } },
      direct: { direct: { clientCa, sources: front.mode === 'direct' ? front.sources : [] } },
      tunnel: {},
    };
    const launch = {
      recipient: await identityToRecipient(identity),
      mode: front.mode,
      hosts: ['localhost'],
      users: [OWNER],
      ...material[front.mode],
      ...more,
    };
    return new Owner(identity, launch, client, { ...client.unfit, foreign });
  }

  /** Members of launch.json, the token among them. */
  get launch(): Record<string, unknown> {
    return { ...this.#launch, token: this.#token };
  }

  /**
   * Opens what the box sealed for its owner and gives it to a peer, which then is the auth proxy.
   *
   * @param console all that the box has said.
   * @returns what is needed to ask the gate.
   */
  async equip(peer: Peer, console: string, launchId: string, instanceId: string): Promise<GateAccess> {
    const access = await this.open(console, launchId, instanceId);
    await peer.exec(`install -d -m 0700 ${HELD}`);
    const pairs = Object.entries({ client: this.client, ...this.#unfit }).flatMap(([name, { certificate, key }]) => [
      [`${name}.crt`, certificate],
      [`${name}.key`, key],
    ]);
    await putAll(
      peer,
      HELD,
      { code: access.code, 'origin.crt': access.certificate, ...Object.fromEntries(pairs) },
      '0600',
    );
    return access;
  }

  /** Opens what the box sealed for its owner. */
  async open(console: string, launchId: string, instanceId: string): Promise<GateAccess> {
    const sealed = bundleFromConsole(console);
    if (!sealed) throw new BuildError('owner', 'the box has not sent its bundle', 'read what it said on its console');
    const bundle = await openBundle(sealed, {
      identity: this.identity,
      token: this.#token,
      launchId,
      instanceId,
      isTaken: () => false,
    });
    if (!bundle.gate) throw new BuildError('owner', 'the bundle has no gate', 'is layer 02 in the image?');
    return { code: bundle.code, certificate: bundle.gate.certificate };
  }
}

async function makeClient(unfit: Unfit[] = []): Promise<Client & { caDer: string; unfit: Record<string, Client> }> {
  const work = mkdtempSync(join(tmpdir(), 'clawdy-owner-'));
  try {
    const { caDer } = await makeClientCa(work, unfit);
    const read = (name: string): Client => ({
      certificate: readFileSync(join(work, `${name}.crt`), 'utf8'),
      key: readFileSync(join(work, `${name}.key`), 'utf8'),
    });
    return { ...read('client'), caDer, unfit: Object.fromEntries(unfit.map(({ name }) => [name, read(name)])) };
  } finally {
    rmSync(work, { recursive: true });
  }
}

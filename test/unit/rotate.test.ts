import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Encrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import test from 'ava';
import { OVERLAP_S, type Rotation, signedAs } from '../../src/contract/ops.ts';
import { BuildError } from '../../src/process/errors.ts';
import { type Parties, revoke, rotate } from '../../src/rotate/rotate.ts';
import { ROOT } from './launch-fixture.ts';

// The operator's side, over a box that does what gate/codes does; test/container/rotation.test.ts has the real one.

const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const instance = {
  instance_id: 'local-1',
  instance_key: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
};
const quick = { overlapSeconds: 60, pollMs: 1, seenMs: 50 };
const newCode = () => randomBytes(32).toString('base64url');

/** A box; `cut` steps are done, and their answers lost. */
class Box {
  readonly codes: string[] = [newCode()];
  registered = this.codes[0] as string;
  readonly steps: string[] = [];
  phase: Rotation['phase'] = 'none';
  pending: Pick<Rotation, 'rotation' | 'sealedCode'> | null = null;
  current: Rotation['current'] = { rotation: null, sealedCode: null };
  seen = false;
  cut: string | undefined;

  async #mint() {
    const [code, rotation] = [newCode(), randomBytes(9).toString('base64url')];
    this.codes.push(code);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const own = JSON.stringify({ version: 1, instanceId: 'local-1', rotation, code });
    return { rotation, sealedCode: Buffer.from(await encrypter.encrypt(own)).toString('base64') };
  }

  async ask({ step, nonce }: Record<string, unknown>) {
    this.steps.push(String(step));
    if (step === 'prepare') {
      if (this.phase !== 'none') throw new BuildError('box', `a rotation is ${this.phase} already`, '');
      [this.phase, this.pending, this.seen] = ['prepared', await this.#mint(), false];
    } else if (step === 'announce') this.phase = 'announced';
    else if (step === 'commit') {
      if (!this.seen) throw new BuildError('box', 'no request with the new code', '');
      this.phase = 'committed';
    } else if (step === 'revoke') this.current = await this.#mint();
    if (this.cut === step) {
      this.cut = undefined;
      throw new BuildError('ops', 'the answer was lost', '');
    }
    const secondsLeft = this.phase === 'committed' ? 60 : null;
    const said: Rotation = {
      ...{ version: 1, nonce: String(nonce), instanceId: 'local-1', phase: this.phase, seen: this.seen, secondsLeft },
      ...{ rotation: this.pending?.rotation ?? null, sealedCode: this.pending?.sealedCode ?? null },
      current: this.current,
    };
    const body = JSON.stringify(said);
    return { body, signature: sign(null, Buffer.from(signedAs('rotation') + body), privateKey).toString('base64') };
  }

  parties(more: Partial<Parties> = {}): Parties {
    return {
      ...{ instance, identity, ask: (args) => this.ask(args), registered: async () => this.registered },
      register: async (code) => {
        this.registered = code;
      },
      use: async (code) => {
        this.seen = code === this.codes.at(-1);
      },
      ...more,
    };
  }
}

test('the registry has the new code after it is announced, and the old one ends after the new was used', async (t) => {
  const box = new Box();
  const at: string[] = [];
  const register = async (code: string) => {
    at.push(`${box.phase}: ${code === box.codes[1]}`);
  };
  t.is((await rotate(box.parties({ register }), quick)).secondsLeft, 60);
  t.deepEqual(at, ['announced: true']);
  t.deepEqual(box.steps, ['status', 'prepare', 'announce', 'status', 'status', 'commit']);
});

test('cut after any step, the next call goes on with the same code and ends it', async (t) => {
  for (const cut of ['prepare', 'announce', 'commit']) {
    const box = new Box();
    box.cut = cut;
    await t.throwsAsync(rotate(box.parties(), quick), { message: 'the answer was lost' });
    await rotate(box.parties(), quick);
    t.is(box.phase, 'committed', cut);
    t.is(box.codes.length, 2, cut);
    t.is(box.registered, box.codes[1] as string, cut);
  }
  // Not registered: the old code is still in the registry, and counts.
  const box = new Box();
  const register = async () => {
    throw new BuildError('registry', 'away', '');
  };
  await t.throwsAsync(rotate(box.parties({ register }), quick), { message: 'away' });
  t.is(box.phase, 'announced');
});

test('where nobody uses the new code nothing is committed', async (t) => {
  const box = new Box();
  await t.throwsAsync(rotate(box.parties({ use: async () => {} }), quick), { message: /both codes count/ });
  t.is(box.phase, 'announced');
  t.false(box.steps.includes('commit'));
});

test('a revocation registers the code that counts now, and one whose answer was lost is made good', async (t) => {
  const box = new Box();
  await revoke(box.parties());
  t.is(box.registered, box.codes[1] as string);
  box.cut = 'revoke';
  await t.throwsAsync(revoke(box.parties()));
  t.not(box.registered, box.codes[2] as string);
  const registered: string[] = [];
  const register = async (code: string) => {
    registered.push(code);
  };
  await rotate(box.parties({ register }), quick);
  t.deepEqual(registered, box.codes.slice(2));
});

test('another operator who revokes in between is noticed, and the code that counts is registered', async (t) => {
  const box = new Box();
  const register = async (code: string) => {
    if (box.phase === 'announced') {
      await revoke(box.parties());
      [box.phase, box.pending] = ['none', null];
    }
    box.registered = code;
  };
  await t.throwsAsync(rotate(box.parties({ register }), quick), {
    message: /another operator has ended this rotation/,
  });
  t.is(box.registered, box.codes.at(-1) as string);
  t.false(box.steps.includes('commit'));
});

test('after another recipient was set, what was sealed to the one before stops no rotation', async (t) => {
  const box = new Box();
  box.current = { rotation: 'abcdefghijkl', sealedCode: Buffer.from('sealed to another').toString('base64') };
  const registered = async () => {
    throw new BuildError('operator', 'encrypted to the key before', '');
  };
  await rotate(box.parties({ registered }), quick);
  t.is(box.registered, box.codes[1] as string);
});

test('nothing is believed that isn’t this instance’s, or is sealed to somebody else', async (t) => {
  const box = new Box();
  const ask = async (args: Record<string, unknown>) => {
    const { body, signature } = await box.ask(args);
    return { body: body.replace('"seen":false', '"seen":true'), signature };
  };
  await t.throwsAsync(rotate(box.parties({ ask }), quick), { message: /signature isn't the instance's/ });
  const other = box.parties({ identity: await generateX25519Identity() });
  await t.throwsAsync(rotate(other, quick), { message: /isn't sealed to your key/ });
  t.is(box.registered, box.codes[0] as string);
});

test('the box and the contract name the same times, phases and form of a code', (t) => {
  const codes = readFileSync(join(ROOT, 'layers/02-auth-code/rootfs/usr/lib/clawdy/gate/codes'), 'utf8');
  t.true(codes.includes(`OVERLAP_S = {"default": ${OVERLAP_S.default}, "most": ${OVERLAP_S.most / 3600} * 3600}`));
  for (const phase of ['prepared', 'announced', 'committed', 'closing']) t.true(codes.includes(`"${phase}"`), phase);
  // The gate's converter writes upper case.
  t.true(codes.includes('hashlib.sha256(code).hexdigest().upper()'));
});

import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type InstanceRecord, readRecord, removeRecord, writeRecord } from '../../src/launch/records.ts';
import { BuildError } from '../../src/process/errors.ts';
import { Progress } from '../../src/process/progress.ts';
import { type Hands, replaceInstance, rollBack } from '../../src/replace/replace.ts';
import { RECORD } from '../unit/launch-fixture.ts';
import { World } from './memory-machines.ts';

interface Box {
  /** Whether its machine is on, and OpenClaw runs. */
  on: boolean;
  serves: boolean;
  home: string;
  key: boolean;
}

/** Boxes in memory: an owner works with the one that the auth proxy leads to. */
export class Fleet {
  readonly world = new World();
  readonly boxes = new Map<string, Box>();
  /** What edge.yaml says, and what the proxy was told. */
  edge = 'old';
  proxy = 'old';
  broken: string | undefined;
  #last = 0;

  /** @param work XDG_STATE_HOME of the test; emptied. */
  constructor(work: string) {
    for (const entry of readdirSync(work)) rmSync(join(work, entry), { recursive: true, force: true });
    this.boxes.set('old', { on: true, serves: true, home: 'work and skills', key: true });
    writeRecord({ ...RECORD, instance_id: 'old' });
  }

  /** Whether the owner has what works: the box that the proxy leads to serves, and has a key. */
  get serves(): boolean {
    const box = this.boxes.get(this.proxy);
    return Boolean(box?.on && box.serves && box.key);
  }

  box({ instance_id: id }: InstanceRecord): Box {
    const box = this.boxes.get(id);
    if (!box) throw new BuildError('fleet', `${id} is gone`, '');
    return box;
  }

  #call<T>(name: string, effect: () => T): Promise<T> {
    return this.world.call(name, () => {
      if (this.broken === name) throw new BuildError('fleet', `${name} fails`, '');
      return effect();
    });
  }

  readonly hands: Hands = {
    prepare: (old) => this.#call('prepare', () => this.hands.slugs(old)),
    slugs: ({ instance_id: id }) => (this.edge === id ? ['alice'] : []),
    launch: (old) =>
      this.#call('launch', () => {
        const id = `new-${++this.#last}`;
        const record = { ...RECORD, instance_id: id, launch_id: id, user: old.user, replaces: old.instance_id };
        this.boxes.set(id, { on: true, serves: true, home: '', key: false });
        writeRecord(record);
        return record;
      }),
    move: (old, next, documents) =>
      this.#call('end OpenClaw', () => {
        this.box(old).serves = false;
      }).then(() =>
        this.#call('move', () => {
          this.box(next).home = documents ? 'work' : this.box(old).home;
          return { files: 1, bytes: 1, left: documents ? 1 : 0, examples: [] };
        }),
      ),
    bringKey: (from, to) =>
      this.#call('key', () => {
        const caps = this.box(from).key || this.box(to).key;
        this.box(to).key = caps;
        return caps;
      }),
    retireKeys: (record) =>
      this.#call('retire', () => {
        this.box(record).key = false;
      }),
    check: (record) =>
      this.#call('check', () => {
        if (!this.box(record).serves) throw new BuildError('fleet', "it doesn't answer", '');
      }),
    lead: (slugs, to) =>
      this.#call('edge.yaml', () => {
        if (slugs.join() !== 'alice') throw new BuildError('fleet', `leads ${slugs.join() || 'nobody'}`, '');
        this.edge = to.instance_id;
      }).then(() =>
        this.#call('push', () => {
          this.proxy = to.instance_id;
        }),
      ),
    revive: (record) =>
      this.#call('revive', () => {
        Object.assign(this.box(record), { on: true, serves: true });
        return record;
      }),
    stop: (record) =>
      this.#call('stop', () => {
        Object.assign(this.box(record), { on: false, serves: false });
      }),
    destroy: (record) =>
      this.#call('destroy', () => {
        this.boxes.delete(record.instance_id);
        removeRecord(record.instance_id);
      }),
  };

  replace(suspect = false) {
    return replaceInstance(readRecord('old'), { suspect }, this.hands, new Progress());
  }

  back(id: string) {
    return rollBack(readRecord(id), this.hands, new Progress());
  }
}

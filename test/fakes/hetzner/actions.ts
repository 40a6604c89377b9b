import { setTimeout as sleep } from 'node:timers/promises';
import type { Action } from './answers.ts';
import { notFound, Refusal } from './errors.ts';

/** What the test makes of an action: it ends with this error, and nothing of its effect happens. */
export type FailAction = (command: string) => { code: string; message: string } | undefined;

/** What an action holds while it runs. */
export interface Held {
  id: number;
  /** ID of the action. */
  lockedBy: number | undefined;
}

interface More {
  failed?: (code: string) => void;
  /** Begins when this one has ended; fails with it. */
  after?: Action;
  type?: 'server' | 'firewall';
}

/** Actions: they run for a while, hold their server or firewall meanwhile, and end well or badly. */
export class Actions {
  readonly all = new Map<number, Action>();
  /** Milliseconds that each takes beyond its work. */
  readonly #ms: number;
  readonly #nextId: () => number;
  failing: FailAction | undefined;
  readonly #running = new Set<Promise<void>>();

  constructor(ms: number, nextId: () => number) {
    this.#ms = ms;
    this.#nextId = nextId;
  }

  get(id: number): Action {
    const found = this.all.get(id);
    if (!found) throw notFound(`action ${id}`);
    return found;
  }

  /**
   * Begins one. The server is locked until it and those after it have ended; a firewall's changes may follow one another.
   * @param effect what it has become, when it succeeds. @param failed when it doesn't.
   */
  start(command: string, on: Held, effect: () => Promise<void>, more: More = {}) {
    const { type = 'server', after } = more;
    if (on.lockedBy !== undefined && on.lockedBy !== after?.id && !(type === 'firewall' && after)) {
      // https://docs.hetzner.cloud/reference/cloud#errors: "The item you are trying to access is locked".
      if (type === 'server') throw new Refusal(423, 'locked', 'server is locked by another action');
      throw new Refusal(409, 'conflict', 'firewall is being changed');
    }
    const action: Action = {
      id: this.#nextId(),
      command,
      status: 'running',
      started: new Date(),
      finished: undefined,
      resources: [{ id: on.id, type }],
      error: undefined,
    };
    this.all.set(action.id, action);
    on.lockedBy = action.id;
    this.follow(this.#run(action, on, effect, more));
    return action;
  }

  /** Work that goes on without an action, such as a machine's own. */
  follow(work: Promise<void>): void {
    this.#running.add(work);
    work.finally(() => this.#running.delete(work));
  }

  async #run(action: Action, on: Held, effect: () => Promise<void>, { failed, after }: More): Promise<void> {
    while (after?.status === 'running') await sleep(5);
    await sleep(this.#ms);
    action.error = after?.status === 'error' ? after.error : this.failing?.(action.command);
    if (!action.error) {
      try {
        await effect();
      } catch (error) {
        action.error = { code: 'action_failed', message: error instanceof Error ? error.message : 'failed' };
      }
    }
    if (action.error) failed?.(action.error.code);
    action.status = action.error ? 'error' : 'success';
    action.finished = new Date();
    if (on.lockedBy === action.id) on.lockedBy = undefined;
  }

  /** Waits for all that run. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

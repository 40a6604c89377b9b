import { setTimeout as sleep } from 'node:timers/promises';
import type { Action, Server } from './answers.ts';
import { notFound, Refusal } from './errors.ts';

/** What the test makes of an action: it ends with this error, and nothing of its effect happens. */
export type FailAction = (command: string) => { code: string; message: string } | undefined;

/** Actions: they run for a while, hold their server meanwhile, and end well or badly. */
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
   * Begins one. The server is locked until it and those after it have ended.
   * @param effect what the server has become, when it succeeds. @param failed when it doesn't.
   */
  start(
    command: string,
    server: Server,
    effect: () => Promise<void>,
    more: { failed?: (code: string) => void; after?: Action } = {},
  ) {
    // https://docs.hetzner.cloud/reference/cloud#errors: "The item you are trying to access is locked".
    if (server.lockedBy !== undefined && server.lockedBy !== more.after?.id)
      throw new Refusal(423, 'locked', 'server is locked by another action');
    const action: Action = {
      id: this.#nextId(),
      command,
      status: 'running',
      started: new Date(),
      finished: undefined,
      resources: [{ id: server.id, type: 'server' }],
      error: undefined,
    };
    this.all.set(action.id, action);
    server.lockedBy = action.id;
    const work = this.#run(action, server, effect, more);
    this.#running.add(work);
    work.finally(() => this.#running.delete(work));
    return action;
  }

  async #run(
    action: Action,
    server: Server,
    effect: () => Promise<void>,
    { failed, after }: { failed?: (code: string) => void; after?: Action },
  ): Promise<void> {
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
    if (server.lockedBy === action.id) server.lockedBy = undefined;
  }

  /** Waits for all that run. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

import type { Actions } from './actions.ts';
import type { Action, Firewall, Server } from './answers.ts';
import { invalid, Refusal, taken } from './errors.ts';
import type { Rule } from './rules.ts';

/** https://docs.hetzner.com/cloud/firewalls/faq; those in all are of one account. */
const FIREWALLS_OF_A_SERVER = 5;
const FIREWALLS_IN_ALL = 50;

/** The firewalls of a project, and which servers are behind them. */
export class Firewalls {
  readonly all = new Map<number, Firewall>();
  readonly #servers: Map<number, Server>;
  readonly #actions: Actions;
  readonly #nextId: () => number;
  /** Milliseconds that a firewall is in use beyond its last server's end: the API takes a while to see it. */
  lagMs = 100;

  constructor(servers: Map<number, Server>, actions: Actions, nextId: () => number) {
    this.#servers = servers;
    this.#actions = actions;
    this.#nextId = nextId;
  }

  create(name: string, labels: Record<string, string>, rules: Rule[]): { firewall: Firewall; actions: Action[] } {
    this.refuseName(name);
    if (this.all.size >= FIREWALLS_IN_ALL) throw new Refusal(403, 'resource_limit_exceeded', 'firewall limit exceeded');
    const id = this.#nextId();
    const made = { id, name, labels, created: new Date(), rules: [], lockedBy: undefined, leftAt: 0 };
    this.all.set(id, made);
    return { firewall: made, actions: rules.length > 0 ? this.setRules(made, rules) : [] };
  }

  refuseName(name: string, except?: number): void {
    for (const other of this.all.values()) if (other.name === name && other.id !== except) throw taken('name');
  }

  /** The rules are there, and in force, when the actions have ended. */
  setRules(firewall: Firewall, rules: Rule[]): Action[] {
    const effect = async () => {
      firewall.rules = rules;
    };
    const set = this.#actions.start('set_firewall_rules', firewall, effect, { type: 'firewall' });
    return [set, ...this.behind(firewall).map((server) => this.#apply(firewall, server, set))];
  }

  /** @throws Refusal for what a new server can't have. No page says with which code; the rules are said. */
  checked(ids: number[]): Firewall[] {
    if (ids.length > FIREWALLS_OF_A_SERVER) throw invalid(`more than ${FIREWALLS_OF_A_SERVER} firewalls`);
    if (new Set(ids).size < ids.length) throw invalid('a firewall is named twice');
    return ids.map((id) => {
      const found = this.all.get(id);
      if (!found) throw invalid(`firewall ${id} not found`);
      return found;
    });
  }

  /** Puts a server behind it, after what runs on the server. */
  attach(firewall: Firewall, server: Server, after?: Action): Action {
    server.firewalls.push({ id: firewall.id, status: 'pending' });
    return this.#apply(firewall, server, after);
  }

  /** Takes a server from behind it. */
  detach(firewall: Firewall, server: Server): Action {
    if (!server.firewalls.some(({ id }) => id === firewall.id))
      throw new Refusal(422, 'firewall_already_removed', 'firewall is not applied to this server');
    const effect = async () => {
      server.firewalls = server.firewalls.filter(({ id }) => id !== firewall.id);
    };
    return this.#actions.start('remove_firewall', firewall, effect, { type: 'firewall' });
  }

  behind({ id }: Firewall): Server[] {
    return [...this.#servers.values()].filter(({ firewalls }) => firewalls.some((has) => has.id === id));
  }

  /** A server is gone. */
  leave({ firewalls }: Server): void {
    for (const { id } of firewalls) {
      const firewall = this.all.get(id);
      if (firewall) firewall.leftAt = Date.now();
    }
  }

  delete(firewall: Firewall): void {
    if (this.behind(firewall).length > 0 || Date.now() < firewall.leftAt + this.lagMs)
      throw new Refusal(422, 'resource_in_use', `firewall with ID ${firewall.id} is still in use`);
    this.all.delete(firewall.id);
  }

  #apply(firewall: Firewall, server: Server, after?: Action): Action {
    const effect = async () => {
      const own = server.firewalls.find(({ id }) => id === firewall.id);
      if (own) own.status = 'applied';
    };
    const action = this.#actions.start('apply_firewall', firewall, effect, {
      type: 'firewall',
      ...(after ? { after } : {}),
    });
    action.resources.push({ id: server.id, type: 'server' });
    return action;
  }
}

/**
 * What launching asks of a cloud: machines that stay. A cloud's folder has `machines.ts`, which exports `machines`. Each
 * primitive may be interrupted anywhere and called again; what is common (journal, enrolment, records) is in src/launch.
 */
import { type CloudImage, LABELS, OWNER } from './cloud.ts';

/** One launch on its way. */
export interface LaunchJob {
  /** Label of everything that comes of it; of Job.run's form. */
  readonly run: string;
  readonly region: string;
  /** What the step is doing, for the person who watches. */
  detail(text: string): void;
}

/** What a machine is started with. */
export interface Start {
  image: CloudImage;
  /** The whole user-data. Holds a one-time token: never logged, noted or shown. */
  userData: string;
  /** As the cloud calls its sizes; undefined: the cheapest that OpenClaw runs on. */
  size?: string | undefined;
  /** A name for people, at most 63 characters of a host name. */
  name: string;
}

/** The labels of everything that comes of a launch, while it is on its way. */
export function launchLabels({ run }: Pick<LaunchJob, 'run'>, { image }: Pick<Start, 'image'>): Record<string, string> {
  return {
    [LABELS.owner]: OWNER,
    [LABELS.run]: run,
    [LABELS.image]: image.image,
    [LABELS.base]: image.base,
    [LABELS.digest]: image.digest,
    [LABELS.launched]: 'yes',
    [LABELS.temporary]: 'yes',
  };
}

/** TCP from outside to one port; everything else is closed. */
export interface Opening {
  port: number;
  /** Or up to this one. */
  to?: number;
  /** Networks in CIDR form, IPv4 and IPv6. */
  sources: string[];
}

export type MachineState = 'starting' | 'running' | 'stopped' | 'gone';

/** A machine as its cloud describes it. */
export interface Machine {
  region: string;
  /** As the API names it; the box finds the same in its metadata. */
  instanceId: string;
  /** Public; IPv4 where it has both. Undefined while it has none. */
  address: string | undefined;
  state: MachineState;
  /** By our labels: the image's ID, and the launch's run. */
  image: string;
  run: string;
  /** ISO time. */
  created: string;
  /** Whether its launch hasn't come to its end (`keep`): killed, or still on its way. */
  temporary: boolean;
}

export interface Machines {
  readonly name: string;
  /** Where it launches where nothing else is said. */
  readonly region: string;

  /**
   * Starts a machine that nobody outside reaches: a firewall of its own that is closed, made first. No role, no key of the
   * cloud's; metadata by session tokens alone, one hop, where the cloud has such. All is labelled with the run, and temporary.
   * @throws BuildError where it can't be had; what was made is `sweep`'s to remove.
   */
  start(job: LaunchJob, start: Start): Promise<Machine>;

  /** undefined: there is none. */
  machine(region: string, instanceId: string): Promise<Machine | undefined>;

  /** All of ours that were launched, also those that are on their way. */
  list(region: string): Promise<Machine[]>;

  /**
   * All that its serial console has said; empty while it says nothing. Missing where a cloud has no way to read it.
   * @throws BuildError when the machine is gone.
   */
  console?(region: string, instanceId: string): Promise<string>;

  /** Lets in just these, in place of what was let in before. */
  open(region: string, instanceId: string, openings: Opening[]): Promise<void>;

  /** The launch has come to its end: the machine and what belongs to it aren't temporary any more. */
  keep(region: string, instanceId: string): Promise<void>;

  /** Switches it off, or on again; its disk stays, its address may change. Returns when it is so. */
  power(region: string, instanceId: string, on: boolean): Promise<Machine>;

  /** Ends it for good with its disk and its firewall; what is gone already is fine. */
  destroy(region: string, instanceId: string): Promise<void>;

  /** Removes all that is temporary of a run, or what an interrupted `destroy` of that run left; none is fine. */
  sweep(region: string, run: string): Promise<void>;

  close(): void;
}

/** What a cloud's machines.ts exports as `machines`. @param region undefined: the cloud's default. */
export type OpenMachines = (region: string | undefined) => Promise<Machines>;

/** What every fake of a cloud offers to tests, whatever API it speaks. */

export interface FakeCloud {
  /** Added to the environment of whoever is to meet the fake: endpoint and credentials, in the client's own variables. */
  env: Record<string, string>;
  /** Every call that was answered, in order: the API's own name of it. */
  calls: string[];
  /** Called when a call has taken effect and before it is answered; who is killed here never learns of it. */
  onCall: ((name: string, index: number) => void | Promise<void>) | undefined;
  /** Asked before a call takes effect; what it gives is done instead. */
  fault: ((name: string, index: number) => Fault | undefined) | undefined;
  close(): Promise<void>;
}

/** How a call can go wrong, other than by the API's own rules. */
export type Fault =
  /** The connection stays open and nothing comes. */
  | { kind: 'stall' }
  /** The connection ends without an answer; `after`: once the call has taken effect. */
  | { kind: 'reset'; after?: boolean }
  /** An answer that isn't the API's, such as a gateway's HTML. */
  | { kind: 'raw'; status: number; body: string; headers?: Record<string, string> }
  /** An error in the API's own form. */
  | { kind: 'error'; status: number; code: string; message: string };

/** What a fake boots disks on: QEMU itself, or what QEMU once recorded of that very digest. */
export interface Hypervisor {
  boot(machine: { disk: string; instanceId: string; userData: string }): Promise<Machine>;
}

export interface Machine {
  /** The serial console so far. */
  console(): string;
  off(): Promise<void>;
}

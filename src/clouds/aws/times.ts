/** Every wait of this cloud, in milliseconds, with its reason. */
export interface Times {
  /** EBS: a connection on which nothing moved for so long is dead: a block of 512 KiB is answered in tens of milliseconds, and on a slow line bytes still move. */
  silence: number;
  /** The same for EC2 and SSM, which may think for long before the first byte (RunInstances, look-ups of what uses images). */
  thinking: number;
  /** All of one call. 32 blocks at once on a line of 2 Mbit/s take 70 s; without any limit the SDK waits for ever on a stalled PUT. */
  request: number;
  connect: number;
  /** How long one call is tried again. Throttling of an account eases within a minute or two. */
  retry: number;
  /** Pauses between tries double from the first to the second. */
  minPause: number;
  maxPause: number;
  /** An ID that was just handed out may be unknown to AWS' other servers for so long (eventual consistency; EBS: up to 2 minutes). */
  fresh: number;
  /** First pause when waiting for a state; it grows by half up to the second. AWS' own waiters begin at 15 s, small snapshots are done in 3. */
  poll: number;
  maxPoll: number;
  /** A snapshot completes in minutes. */
  snapshot: number;
  /** A copy into another region can take an hour. */
  image: number;
  /** Ending a machine takes a minute or two. */
  instance: number;
  /** How long SSM may check that a parameter of type aws:ec2:image names an image; it does so after it answered. */
  channel: number;
  /** Notes of how far an upload came are written no more often than this: each is a synced write. */
  note: number;
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;

export const TIMES: Times = {
  silence: 15 * SECOND,
  thinking: MINUTE,
  request: 2 * MINUTE,
  connect: 5 * SECOND,
  retry: 5 * MINUTE,
  minPause: 200,
  maxPause: 5 * SECOND,
  fresh: 2 * MINUTE,
  poll: 2 * SECOND,
  maxPoll: 15 * SECOND,
  snapshot: 60 * MINUTE,
  image: 120 * MINUTE,
  instance: 10 * MINUTE,
  channel: 2 * MINUTE,
  note: SECOND,
};

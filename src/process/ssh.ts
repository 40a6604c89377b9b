export interface SshWay {
  user: string;
  address: string;
  port: number;
  /** File of the private key; no other is offered. */
  key: string;
  /** File of the host keys that are known, ours alone. */
  knownHosts: string;
  /** `yes`: the host key must be known. `accept-new`: the first that answers is taken down. */
  strict: 'yes' | 'accept-new';
  connectLimitS: number;
}

/** Arguments of ssh(1) for a program that asks nobody and believes nothing of this machine's own configuration. */
export function sshWords({ user, address, port, key, knownHosts, strict, connectLimitS }: SshWay): string[] {
  const options = {
    BatchMode: 'yes',
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    StrictHostKeyChecking: strict,
    // Rescue systems and our images all have one; a single kind leaves no second key to be answered with.
    HostKeyAlgorithms: 'ssh-ed25519',
    // Its value is a list, divided by blanks.
    UserKnownHostsFile: `"${knownHosts}"`,
    GlobalKnownHostsFile: '/dev/null',
    UpdateHostKeys: 'no',
    ConnectTimeout: String(connectLimitS),
    // A connection that is gone is noticed within a minute.
    ServerAliveInterval: '15',
    ServerAliveCountMax: '4',
    LogLevel: 'ERROR',
  };
  const set = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  return ['-F', '/dev/null', ...set, '-i', key, '-p', String(port), `${user}@${address}`];
}

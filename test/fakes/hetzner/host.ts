import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT, PATHS } from '../../../src/contract/box.ts';
import { run } from '../../../src/process/run.ts';
import { imageTag } from '../../../src/verify/stages/container.ts';
import { ContainerNetwork } from '../../../src/verify/targets/container.ts';
import { LABELS } from '../../../src/verify/targets/docker-objects.ts';
import { FOLDER, Loop } from './loop.ts';

const STEP = { step: 'fake hetzner' };
const BOX_KEY = '/root/box_host_key';

/** Nothing of a user's or the image's own sshd: keys of one file, one host key, no PAM (nobody runs as PID 1). */
const sshd = (name: string, port: number) => `
mkdir -p /run/sshd /run/${name}
cd /run/${name}
[ -s host_key ] || ssh-keygen -q -t ed25519 -N '' -f host_key
chmod 600 host_key
cat > config <<'END'
Port ${port}
HostKey /run/${name}/host_key
AuthorizedKeysFile /run/${name}/keys
PidFile /run/${name}/pid
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthenticationMethods publickey
AllowUsers ${name === 'rescue' ? 'root' : AGENT.name}
END
/usr/sbin/sshd -f config
`;

/**
 * A container with the image's own sshd, dd, blkdiscard and a real block device as /dev/sda: what a rescue system is to
 * whoever comes by SSH. It also lends its address to a booted snapshot whose console was recorded. One at a time.
 */
export class RescueHost {
  /** Under it are the disks of the fake's servers. */
  readonly folder: string;
  readonly address: string;
  /** Public SSH host key (`ssh-ed25519 AAAA…`) of every machine that it lends its network to. */
  readonly hostKey: string;
  readonly #id: string;
  readonly #network: ContainerNetwork;
  readonly #loop: Loop;

  private constructor(
    folder: string,
    { address, hostKey, id }: { address: string; hostKey: string; id: string },
    network: ContainerNetwork,
    loop: Loop,
  ) {
    this.folder = folder;
    this.address = address;
    this.hostKey = hostKey;
    this.#id = id;
    this.#network = network;
    this.#loop = loop;
  }

  /** @param imageDir folder of an image, whose tree the container is made of. */
  static async start(imageDir: string): Promise<RescueHost> {
    const tag = await imageTag(imageDir);
    const folder = mkdtempSync(FOLDER);
    const idle = join(folder, 'idle');
    writeFileSync(idle, '');
    truncateSync(idle, 1024 * 1024);
    const network = await ContainerNetwork.create();
    const loop = await Loop.create(idle);
    const labels = Object.entries(LABELS).flatMap(([name, value]) => ['--label', `${name}=${value}`]);
    const words = ['run', '--detach', '--network', network.name, ...labels, '--device', `${loop.device}:/dev/sda`];
    // blockdev --flushbufs asks for it; a rescue system's root has it.
    const more = ['--cap-add', 'SYS_ADMIN', tag, 'sleep', 'infinity'];
    const { stdout } = await run('docker', [...words, ...more], STEP);
    const id = stdout.trim();
    const format = `{{(index .NetworkSettings.Networks "${network.name}").IPAddress}}`;
    const address = (await run('docker', ['inspect', '--format', format, id], STEP)).stdout.trim();
    // Accounts that can log in by key; the agent's shell of the image wants its systemd.
    const accounts = `usermod -p '*' root; usermod -p '*' -s /bin/sh -d / ${AGENT.name}; mkdir -p ${PATHS.lib}/boot`;
    const key = `ssh-keygen -q -t ed25519 -N '' -f ${BOX_KEY}; cut -d' ' -f1,2 ${BOX_KEY}.pub`;
    const hostKey = (await exec(id, `${accounts}; ${key}`)).trim();
    return new RescueHost(folder, { address, hostKey, id }, network, loop);
  }

  /** The rescue system of a server: root by the keys, the server's own disk. */
  async rescue(disk: string, keys: string[]): Promise<void> {
    await this.#loop.hold(disk);
    await this.exec(`${sshd('rescue', 22)}cat > keys <<'END'\n${keys.join('\n')}\nEND`);
  }

  /**
   * The network side of a machine whose console was recorded: its SSH port, its user's keys, and what it tells.
   * @param hostKey private key in OpenSSH's form; none: that of `this.hostKey`.
   */
  async box(port: number, keys: string[], hostKey: string | undefined): Promise<void> {
    const own = `cp ${BOX_KEY} /run/box/host_key\n`;
    const key = hostKey ? `cat > /run/box/host_key <<'END'\n${hostKey.trimEnd()}\nEND\n` : own;
    const tell = `printf '#!/bin/sh\\ncat /run/box/console\\n' > ${PATHS.lib}/boot/tell; chmod 755 ${PATHS.lib}/boot/tell`;
    await this.exec(
      `rm -rf /run/box; mkdir -p /run/box; ${key}${sshd('box', port)}cat > keys <<'END'\n${keys.join('\n')}\nEND\n${tell}`,
    );
  }

  /** What the box of `box` tells from now on. */
  async tell(console: string): Promise<void> {
    const write = 'cat > /run/box/next && mv /run/box/next /run/box/console';
    await run('docker', ['exec', '--interactive', this.#id, 'sh', '-c', write], { ...STEP, input: console });
  }

  /** Power off: every process in the container ends, and the disk is let go. */
  async off(): Promise<void> {
    await run('docker', ['exec', this.#id, 'sh', '-c', 'kill -9 -1'], { ...STEP, ok: [0, 137] });
    await this.#loop.hold();
  }

  /** Runs a script in the container. @returns its standard output. */
  exec(script: string): Promise<string> {
    return exec(this.#id, script);
  }

  async close(): Promise<void> {
    await run('docker', ['rm', '--force', '--volumes', this.#id], STEP);
    await this.#network.close();
    await this.#loop.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function exec(id: string, script: string): Promise<string> {
  return (await run('docker', ['exec', '--interactive', id, 'sh', '-eu'], { ...STEP, input: script })).stdout;
}

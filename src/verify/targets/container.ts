import { randomBytes } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { AGENT, PATHS } from '../../contract/box.ts';
import { BuildError } from '../../process/errors.ts';
import { run } from '../../process/run.ts';
import { LABELS, sweepDocker } from './docker-objects.ts';
import { SYSTEMD_CONTAINER } from './systemd-container.ts';
import type { ExecOptions, ExecResult, Peer, Target } from './target.ts';

// Ryuk is an image that would have to be pulled; every container here is removed by close() and by its label.
process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';

const DEFAULT_TIMEOUT_MS = 120_000;
/** Enough for one without each layer, beside the newest. */
const IMAGES_KEPT = 10;

/** Imports a root archive as a Docker image, once per tag. */
export async function importTree(tar: string, tag: string, log?: string): Promise<string> {
  const known = await run('docker', ['image', 'inspect', '--format', '{{.Id}}', tag], {
    step: 'container',
    ok: [0, 1],
  });
  if (known.exitCode !== 0) {
    await run('docker', ['import', tar, tag], { step: 'container', log });
    await dropOldImages(tag.split(':')[0] as string);
  }
  return tag;
}

/** Trees are a gigabyte each, and each bake makes one. Docker refuses to remove what a container uses. */
async function dropOldImages(repository: string): Promise<void> {
  const words = ['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}', repository];
  // Newest first.
  const { stdout } = await run('docker', words, { step: 'container' });
  const old = stdout.split('\n').filter(Boolean).slice(IMAGES_KEPT);
  for (const tag of old) await run('docker', ['image', 'rm', tag], { step: 'container', ok: [0, 1] });
}

/** A network of its own with both families, without a way out. */
export class ContainerNetwork {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(): Promise<ContainerNetwork> {
    await sweepDocker();
    const id = randomBytes(4).toString('hex');
    const name = `clawdy-${id}`;
    await run(
      'docker',
      [
        'network',
        'create',
        '--internal',
        '--ipv6',
        '--subnet',
        `fd77:${id.slice(0, 4)}:${id.slice(4)}::/64`,
        ...Object.entries(LABELS).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
        name,
      ],
      { step: 'container' },
    );
    return new ContainerNetwork(name);
  }

  /** This machine's own IPv4 address on it: where connections to a box come from. */
  async hostAddress(): Promise<string> {
    const format = '{{range .IPAM.Config}}{{.Gateway}} {{end}}';
    const words = ['network', 'inspect', '--format', format, this.name];
    const { stdout } = await run('docker', words, { step: 'container' });
    const address = stdout.split(' ').find((word) => isIPv4(word));
    if (!address) throw new BuildError('container', `${this.name} has no address of this machine`, 'npm run doctor');
    return address;
  }

  async close(): Promise<void> {
    await run('docker', ['network', 'rm', this.name], { step: 'container' });
  }
}

/** A shell command that runs in the closed tree before systemd does, and a file that it may need. */
export interface BeforeBoot {
  file?: { target: string; source: string };
  command: string;
}

class Box {
  readonly started: StartedTestContainer;
  readonly addresses: { v4: string; v6: string };

  constructor(started: StartedTestContainer, addresses: { v4: string; v6: string }) {
    this.started = started;
    this.addresses = addresses;
  }

  async run(words: string[], options: ExecOptions = {}): Promise<ExecResult> {
    const limit = Math.ceil((options.timeout ?? DEFAULT_TIMEOUT_MS) / 1000);
    const result = await this.started.exec(['timeout', String(limit), ...words], {
      env: options.env ?? {},
      user: 'root',
    });
    return { exitCode: result.exitCode, stdout: result.stdout, stderr: result.stderr };
  }

  async put(path: string, content: string | Buffer, mode: string): Promise<void> {
    await this.started.copyContentToContainer([{ content, target: path, mode: Number.parseInt(mode, 8) }]);
  }

  async close(): Promise<void> {
    await this.started.stop({ remove: true, timeout: 0 });
  }
}

/** A container of the image's tree with systemd as PID 1. */
export class ContainerTarget implements Target {
  readonly kind = 'container';
  readonly shellCommand: readonly string[];
  readonly #box: Box;

  private constructor(box: Box) {
    this.#box = box;
    this.shellCommand = ['docker', 'exec', '--interactive', '--tty', box.started.getId(), 'bash'];
  }

  get addresses() {
    return this.#box.addresses;
  }

  /** @param share of one processor that all in the box may use, in turns of 10 ms: waits stay short. */
  async slow(share: number): Promise<void> {
    const period = 10_000;
    const words = [
      'update',
      '--cpu-period',
      String(period),
      '--cpu-quota',
      String(share * period),
      this.#box.started.getId(),
    ];
    await run('docker', words, { step: 'container' });
  }

  /**
   * @param userData what a cloud would hand to the box; none means an instance without launch.json.
   */
  static async boot(options: {
    image: string;
    network: ContainerNetwork;
    userData?: string;
    instanceId?: string;
    metaData?: Record<string, unknown>;
    before?: BeforeBoot;
  }): Promise<ContainerTarget> {
    const seed = '/var/lib/cloud/seed/nocloud';
    const metaData = { 'instance-id': options.instanceId ?? 'i-container', ...options.metaData };
    const { before } = options;
    const container = new GenericContainer(options.image)
      .withCommand(before ? ['sh', '-c', `${before.command} && exec /sbin/init`] : [...SYSTEMD_CONTAINER.command])
      .withCopyFilesToContainer(before?.file ? [before.file] : [])
      .withAddedCapabilities(...SYSTEMD_CONTAINER.capabilities)
      .withSecurityOpt(...SYSTEMD_CONTAINER.securityOptions)
      .withTmpFs(Object.fromEntries(SYSTEMD_CONTAINER.tmpfs.map((path) => [path, 'rw'])))
      .withEnvironment(SYSTEMD_CONTAINER.environment)
      .withNetworkMode(options.network.name)
      .withLabels(LABELS)
      .withCopyContentToContainer([
        { content: JSON.stringify(metaData), target: `${seed}/meta-data` },
        { content: options.userData ?? '', target: `${seed}/user-data` },
      ])
      // Without this, testcontainers waits for ports that the image never publishes.
      .withWaitStrategy(Wait.forSuccessfulCommand('true'));
    return new ContainerTarget(await begin(container, options.network));
  }

  exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
    const shell = ['sh', '-c', command];
    if (options.as !== 'agent') return this.#box.run(shell, options);
    const who = [
      `--reuid=${AGENT.uid}`,
      `--regid=${AGENT.gid}`,
      '--clear-groups',
      '--no-new-privs',
      '--bounding-set=-all',
      '--inh-caps=-all',
    ];
    return this.#box.run(['setpriv', ...who, ...shell], { ...options, env: { HOME: PATHS.home, ...options.env } });
  }

  put(path: string, content: string | Buffer, mode: string): Promise<void> {
    return this.#box.put(path, content, mode);
  }

  /** A container has no serial port; what a unit says on the console goes to the journal as well. */
  async console(): Promise<string> {
    return (await this.exec('journalctl --boot --output=cat --no-pager')).stdout;
  }

  close(): Promise<void> {
    return this.#box.close();
  }
}

/** A second container on the same network: the attacker. It is the same tree with nothing running in it. */
export class ContainerPeer implements Peer {
  readonly #box: Box;

  private constructor(box: Box) {
    this.#box = box;
  }

  get addresses() {
    return this.#box.addresses;
  }

  static async start(options: { image: string; network: ContainerNetwork }): Promise<ContainerPeer> {
    const container = new GenericContainer(options.image)
      .withCommand(['sleep', 'infinity'])
      .withAddedCapabilities('NET_RAW', 'NET_ADMIN')
      .withNetworkMode(options.network.name)
      .withLabels(LABELS)
      .withWaitStrategy(Wait.forSuccessfulCommand('true'));
    return new ContainerPeer(await begin(container, options.network));
  }

  exec(command: string, options: ExecOptions = {}): Promise<ExecResult> {
    return this.#box.run(['sh', '-c', command], options);
  }

  /** Copies a file of the host into the container. */
  copy(source: string, target: string): Promise<void> {
    return this.#box.started.copyFilesToContainer([{ source, target }]);
  }

  put(path: string, content: string | Buffer, mode: string): Promise<void> {
    return this.#box.put(path, content, mode);
  }

  close(): Promise<void> {
    return this.#box.close();
  }
}

async function begin(container: GenericContainer, network: ContainerNetwork): Promise<Box> {
  const started = await container.start();
  const { stdout } = await run(
    'docker',
    ['inspect', '--format', '{{json .NetworkSettings.Networks}}', started.getId()],
    { step: 'container' },
  );
  const found = (JSON.parse(stdout) as Record<string, { IPAddress: string; GlobalIPv6Address: string }>)[network.name];
  if (!found?.IPAddress || !found.GlobalIPv6Address) {
    await started.stop({ remove: true, timeout: 0 });
    throw new BuildError(
      'container',
      'the container got no address of both families',
      'does Docker support --ipv6 networks here? npm run doctor',
    );
  }
  return new Box(started, { v4: found.IPAddress, v6: found.GlobalIPv6Address });
}

import type { BeforeBoot } from '../targets/container.ts';

/**
 * A layer as it is now, over the one that a container's tree has.
 * @param payload archive made by archivePayload.
 */
export function applyBeforeBoot(payload: string, layer: string): BeforeBoot {
  const [tar, dir] = ['/var/tmp/payload.tar', '/var/tmp/payload'];
  return {
    file: { source: payload, target: tar },
    command: `mkdir ${dir} && tar -C ${dir} -xf ${tar} && sh ${dir}/apply.sh ${dir} ${layer}`,
  };
}

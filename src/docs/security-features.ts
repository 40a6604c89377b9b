import type { Layer } from '../manifest/layers.ts';
import type { LayerClaim } from '../verify/claims/load.ts';

const HEAD = `# Security features, and how each is attacked

Made from the layers' manifests and claims by \`npm run docs\`; CI fails where this page is stale. Each row is a claim: the
attack must fail in the stated way, and must end otherwise once the protection is taken away (sabotage). Whether they hold
for an image is in that image's own report, \`dist/<image>/verify/report.html\`, which \`make test\` writes.

*Where*: C in a container of the image's tree, V in a virtual machine of its disk.
`;

/** docs/SECURITY_FEATURES.md: every layer's promise and claims as a page for a person. */
export function renderSecurityFeatures(layers: Layer[], claims: LayerClaim[]): string {
  const sections = layers.map((layer) =>
    section(
      layer,
      claims.filter((claim) => claim.layer === layer),
    ),
  );
  return [HEAD, ...sections].join('\n');
}

function section(layer: Layer, claims: LayerClaim[]): string {
  const number = layer.name.slice(0, 2);
  const heading = number === '00' ? layer.title : `${Number(number)}. ${layer.title}`;
  const lead = [`## ${heading}`, '', layer.promise, ''];
  if (!claims.length) return [...lead, 'No claim yet.', ''].join('\n');
  return [
    ...lead,
    '| promise | who attacks | must end | sabotaged | where | claim |',
    '|---|---|---|---|---|---|',
    ...claims.map(row),
    '',
  ].join('\n');
}

/** Who attacks, for a reader who doesn't know the files. */
const PARTIES = {
  inside: 'root on the box, playing it',
  agent: "the agent's user",
  attacker: 'another host',
  proxy: "the proxy's host, with certificate and code",
} as const;

function row({ id, promise, attack, sabotage, where, front }: LayerClaim): string {
  const sabotaged = 'until' in sabotage ? `not until ${sabotage.until}: ${sabotage.reason}` : sabotage.expect;
  const places = where.map((place) => (place === 'vm' ? 'V' : 'C')).join(' ');
  const who = front === 'cloudflare' && attack.from === 'proxy' ? "Cloudflare's address" : PARTIES[attack.from];
  return `| ${[promise, who, attack.expect, sabotaged, places, `\`${id}\``].map(cell).join(' | ')} |`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}

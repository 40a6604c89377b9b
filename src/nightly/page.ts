import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import escapeHtml from 'escape-html';
import { type Changes, changesSchema, type Figures } from './changes.ts';
import type { NightRecord } from './night.ts';

/** CSS pixels of a plot. */
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [420, 140, 64, 18];
/** Nights that are shown, the newest. */
const SHOWN = 60;

const MIB = 1024 * 1024;
const PLOTS: { title: string; of: (figures: Figures) => number | null }[] = [
  { title: 'size, MiB', of: ({ size }) => size / MIB },
  { title: 'bake, s', of: ({ bakeSeconds }) => bakeSeconds },
  { title: 'boot until live, s', of: ({ bootSeconds }) => bootSeconds },
  { title: 'claims that hold', of: ({ claims }) => claims },
];

const STYLE = `:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884;vertical-align:top}
.red{color:#b3261e}figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{font-weight:600}
svg{font:11px system-ui,sans-serif;fill:currentColor}path{fill:none;stroke:#0b57d0;stroke-width:1.5}circle{fill:#0b57d0}line{stroke:#8886}
@media (prefers-color-scheme:dark){.red{color:#f2b8b5}path{stroke:#a8c7fa}circle{fill:#a8c7fa}}`;

/** All nights as one page that needs nothing else: a line each, the newest first, and plots for each base. */
export function renderNights(nights: NightRecord[]): string {
  const shown = nights.slice(-SHOWN);
  const bases = [...new Set(shown.flatMap(({ stages }) => stages.flatMap(({ base }) => base ?? [])))].sort();
  const rows = shown.toReversed().map(({ id, verdict = 'running', said = '', stages }) => {
    const minutes = Math.round(stages.reduce((sum, { seconds }) => sum + seconds, 0) / 60);
    const bad = verdict === 'red' ? ' class="red"' : '';
    return `<tr><td>${day(id)}</td><td${bad}>${verdict}</td><td>${minutes} min</td><td>${escapeHtml(said)}</td></tr>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nights</title><style>${STYLE}</style></head>
<body><h1>Nights</h1>
${bases.map((base) => section(base, shown)).join('\n')}
<table><thead><tr><th>UTC</th><th>verdict</th><th>took</th><th>why</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody></table></body></html>
`;
}

const day = (id: string) => id.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d).*/, '$1-$2-$3 $4:$5');

/** A base's image of each night that got so far. */
function section(base: string, nights: NightRecord[]): string {
  const known = nights.flatMap(({ id, stages }) => {
    const entry = stages.find((one) => one.stage === 'changes' && one.base === base);
    const parsed = changesSchema.safeParse(entry?.result);
    return parsed.success ? [{ id, changes: parsed.data }] : [];
  });
  if (!known.length) return '';
  const plots = PLOTS.map(({ title, of }) =>
    plot(
      title,
      known.map(({ id, changes }) => ({ id, value: of(changes.figures) })),
    ),
  );
  const newest = known.at(-1)?.changes as Changes;
  return `<h2>${escapeHtml(base)}</h2>${plots.join('')}<p>${escapeHtml(summary(newest))}</p>`;
}

/** One line of what an image is otherwise than the one before. */
export function summary({ before, packages, runtime, files, ports, claims, warnings, stops }: Changes): string {
  if (!before) return 'the first: nothing to compare with';
  const counted = (name: string, list: Changes['files']) => {
    const count = list.added.length + list.removed.length + list.changed.length + list.more;
    return count ? [`${count} ${name}`] : [];
  };
  const parts = [
    ...counted('packages', packages),
    ...runtime.changed,
    ...counted('files', files),
    ...counted('ports', ports),
    ...counted('claims', claims),
  ];
  const said = parts.length ? `otherwise than ${before}: ${parts.join(', ')}` : `as ${before}`;
  return [said, ...warnings, ...stops].join('; ');
}

/** A gap where a night has no figure. */
function plot(title: string, points: { id: string; value: number | null }[]): string {
  const values = points.flatMap(({ value }) => value ?? []);
  if (!values.length) return '';
  const x = scaleLinear([0, Math.max(1, points.length - 1)], [LEFT, WIDTH - 8]);
  const y = scaleLinear([0, Math.max(...values)], [HEIGHT - BOTTOM, 8]).nice();
  const draw = line<{ value: number | null }>()
    .defined(({ value }) => value !== null)
    .x((_, index) => x(index))
    .y(({ value }) => y(value as number));
  const ticks = y
    .ticks(4)
    .map(
      (tick) =>
        `<line x1="${LEFT}" x2="${WIDTH}" y1="${y(tick)}" y2="${y(tick)}"/><text x="${LEFT - 6}" y="${y(tick) + 4}" text-anchor="end">${tick}</text>`,
    );
  const dots = points.flatMap(({ id, value }, index) =>
    value === null
      ? []
      : [
          `<circle cx="${x(index)}" cy="${y(value)}" r="2.5"><title>${day(id)}: ${Math.round(value * 10) / 10}</title></circle>`,
        ],
  );
  const ends = [
    `<text x="${LEFT}" y="${HEIGHT - 2}">${day(points[0]?.id ?? '').slice(0, 10)}</text>`,
    `<text x="${WIDTH - 4}" y="${HEIGHT - 2}" text-anchor="end">${day(points.at(-1)?.id ?? '').slice(0, 10)}</text>`,
  ];
  return `<figure><figcaption>${title}</figcaption><svg width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${title}">${ticks.join('')}<path d="${draw(points) ?? ''}"/>${dots.join('')}${ends.join('')}</svg></figure>`;
}

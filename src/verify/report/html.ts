import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import escapeHtml from 'escape-html';
import { partsOf } from './parts.ts';
import { type ClaimResult, isGreen, type Report, type Verdict } from './schema.ts';

const STYLE = readFileSync(join(import.meta.dirname, 'report.css'), 'utf8');

/** Text that is HTML already; everything else is escaped by `html`. */
class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = Markup | Markup[] | string | number;

function html(strings: TemplateStringsArray, ...values: Part[]): Markup {
  const render = (value: Part): string => {
    if (value instanceof Markup) return value.text;
    if (Array.isArray(value)) return value.map(render).join('');
    return escapeHtml(stripVTControlCharacters(String(value)));
  };
  return new Markup(String.raw({ raw: strings }, ...values.map(render)));
}

/** The report as one page that needs nothing else: layers and claims, what was tried, what happened, the evidence. */
export function renderHtml(report: Report): string {
  const { totals } = report;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${report.image}: ${totals.passed} of ${totals.declared} claims hold</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
<h1>${report.image}</h1>
<p class="verdict ${isGreen(report) ? 'good' : 'bad'}">${headline(report)}</p>
<p class="soft">Each claim: a control that shows that the test itself works, an attack that must fail in the stated way, and a
sabotage of the protection after which the same attack must end otherwise.</p>
<dl class="facts">
<dt>raw disk</dt><dd><code>sha256:${report.rawSha256}</code></dd>
<dt>base</dt><dd>${report.base}</dd>
<dt>scope</dt><dd>${scopeOf(report)}</dd>
<dt>run</dt><dd>${report.started.replace('T', ' ').slice(0, 16)} UTC, ${report.seconds} s</dd>
<dt>claims</dt><dd>${totals.declared} declared, ${totals.executed} executed, ${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} without a sabotage</dd>
</dl>
<nav>${report.layers.map(({ id, title, claims }) => {
    const red = claims.filter(({ ok }) => !ok).length;
    const mark = red ? html`<span class="bad">✖ ${red}</span>` : html`<span class="good">✔ ${claims.length}</span>`;
    return html`<a href="#${id}"><span>${title}</span>${mark}</a>`;
  })}</nav>
${report.layers.map(
  ({ id, title, promise, claims }) => html`<section id="${id}">
<h2>${title}</h2>
<p class="soft">${promise}</p>
${claims.map(renderClaim)}
</section>
`,
)}</body>
</html>
`;
  return page.text;
}

function headline({ totals, only }: Report): string {
  if (only) return `Only ${only}: this says nothing about the image as a whole.`;
  if (totals.executed !== totals.declared) return `${totals.executed} of ${totals.declared} claims were executed.`;
  if (totals.failed) return `${totals.failed} of ${totals.declared} claims failed.`;
  return `All ${totals.declared} claims hold.`;
}

function scopeOf({ scope }: Report): string {
  return scope === 'full'
    ? 'full: every claim everywhere that it is declared for'
    : 'ci: every claim once, in a virtual machine where a container couldn’t honestly show it';
}

function renderClaim(claim: ClaimResult): Markup {
  const { sabotage } = claim;
  return html`<details${claim.ok ? '' : new Markup(' open')}>
<summary>${mark(claim.ok, 'until' in sabotage)}<span class="promise">${claim.promise}</span><span class="place">${claim.target}, ${claim.seconds.toFixed(0)} s</span></summary>
<div class="inside">
<p class="soft">${claim.id}</p>
<ol class="parts">
${partsOf(claim).map(([name, verdict]) => renderPart(name, verdict, claim))}${
  'until' in sabotage
    ? html`<li><div class="part-head"><b>sabotage</b><span class="open">none until ${sabotage.until}: ${sabotage.reason}</span></div></li>`
    : ''
}</ol>
</div>
</details>
`;
}

function mark(ok: boolean, excused: boolean): Markup {
  if (!ok) return html`<span class="bad">✖</span>`;
  return excused ? html`<span class="open">✔</span>` : html`<span class="good">✔</span>`;
}

/** What each part is, for who reads the page alone. */
const MEANING: Record<string, string> = {
  control: 'the test itself works',
  attack: 'must fail so',
  alone: 'the same attack, with the other layers that stop it taken away',
  sabotage: 'the same attack, after this protection was taken away',
};

function renderPart(name: string, verdict: Verdict, { tried }: ClaimResult): Markup {
  const what = name === 'alone' ? tried.attack : tried[name as keyof typeof tried];
  const got = verdict.ok
    ? html`<span class="good">${verdict.got}</span>`
    : html`<span class="bad">${verdict.got}</span>, expected ${verdict.expected}`;
  return html`<li><div class="part-head"><b>${name}</b><span>${got}</span><span class="soft">${MEANING[name] ?? ''}</span></div>
<code>${what}</code>${verdict.evidence ? html`<pre>${verdict.evidence}</pre>` : ''}</li>
`;
}

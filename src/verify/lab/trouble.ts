/** What no boot of a sound image says. */
const TROUBLE = [
  /ordering cycle/i,
  /Kernel panic/,
  /\bOops\b/,
  // A "soft lockup" is what a guest says when its host stood still for a while: the waits have limits for that.
  /BUG: (?!soft lockup)/,
  /FAILED.*Failed to/,
  /Dependency failed/,
  /clawdy: closed/,
  /clawdy: check failed/,
  /EXT4-fs error/,
];

/** Lines of a console that no healthy boot has. */
export function trouble(console: string): string[] {
  return console.split('\n').filter((line) => TROUBLE.some((pattern) => pattern.test(line)));
}

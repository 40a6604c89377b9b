/** Index of a block → SHA-256, hex; blocks that are all zeros aren't there. */
export type BlockDigests = Readonly<Record<number, string>>;

/**
 * Which blocks an upload sends, ascending: without a parent all that aren't zeros; on a parent those that differ from it,
 * also those that became zero, which the parent would otherwise show through.
 */
export function changedBlocks(blocks: BlockDigests, parent: BlockDigests | undefined): number[] {
  const indexes = new Set([...Object.keys(blocks), ...Object.keys(parent ?? {})].map(Number));
  return [...indexes].filter((index) => blocks[index] !== parent?.[index]).sort((a, b) => a - b);
}

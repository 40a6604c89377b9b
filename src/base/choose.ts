import { inputError } from '../process/errors.ts';
import type { Progress } from '../process/progress.ts';
import { type Base, loadBase } from './bases.ts';
import { Unreachable } from './download.ts';
import { type BaseMirror, fetchVendor, type VendorImage } from './vendor.ts';

/** What a bake by hand takes when nobody names a base. */
export const DEFAULT_BASE = 'ubuntu-24.04';
/** What it takes when that one can't be reached: bootstrapped, so that it needs no vendor's site. */
export const FALLBACK_BASE = 'debian-13';

/** Which base was asked for and why it isn't the one that was used. */
export interface Fallback {
  requested: string;
  reason: string;
}

/** A base that can be had. */
export interface ChosenBase {
  base: Base;
  /** Only of a `vendor` base. */
  vendor?: VendorImage;
  fallback?: Fallback;
}

export interface ChooseOptions {
  /** As a person named it; undefined: the default, which alone may be replaced. */
  name?: string | undefined;
  /** False for whatever isn't a bake by hand: publishing must get what it asks for, or nothing. In CI nothing may. */
  mayFallBack: boolean;
  mirror?: BaseMirror;
  /** Shows the download as a step. */
  progress?: Progress;
}

/**
 * Loads a base and, if it is a vendor's, its image.
 *
 * Falls back only by hand, when nobody named the base or its mirror, and only because nobody answered there: a wrong or
 * missing signature or a wrong checksum is an attack or a fault that must be seen. CI gets what it asks for, or nothing.
 */
export async function chooseBase(options: ChooseOptions): Promise<ChosenBase> {
  const { name, mayFallBack, mirror = {}, progress } = options;
  const base = loadBase(name ?? DEFAULT_BASE);
  if (base.kind === 'bootstrapped') {
    if (mirror.from || mirror.key)
      throw inputError('base', `${base.id} is no vendor's image`, 'leave out --base-mirror and --base-key');
    return { base };
  }
  try {
    const vendor = await (progress
      ? progress.step(`fetch ${base.id}`, ({ detail }) => fetchVendor(base, mirror, detail))
      : fetchVendor(base, mirror));
    return { base, vendor };
  } catch (error) {
    if (!(error instanceof Unreachable) || name || mirror.from) throw error;
    if (process.env.CI) throw named(error);
    if (!mayFallBack) throw error;
    return { base: loadBase(FALLBACK_BASE), fallback: { requested: base.id, reason: error.message } };
  }
}

/** In CI nobody sees a warning. */
function named(error: Unreachable): Unreachable {
  const hint = `nothing falls back in CI: name a base, CLAWDY_BASE=${FALLBACK_BASE}`;
  return new Unreachable(error.step, error.message, hint, { cause: error });
}

/** The block that nobody overlooks. */
export function fallbackWarning({ requested, reason }: Fallback): string {
  return [
    `!! ${requested.toUpperCase()} CAN'T BE REACHED: THIS IMAGE WILL BE ${FALLBACK_BASE.toUpperCase()}.`,
    `!! ${reason}`,
    '!! Its manifest records that; such an image is for trying out and is never published.',
    `!! --base ${requested} makes this an error, --base ${FALLBACK_BASE} asks for it, --base-mirror names another place.`,
  ].join('\n');
}

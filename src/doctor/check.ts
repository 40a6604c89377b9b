import { BuildError, EXIT } from '../process/errors.ts';

/** One prerequisite, as doctor found it. */
export interface Check {
  name: string;
  ok: boolean;
  /** The command or change that makes it ok. */
  fix: string;
  /** What was found, or how it was proven. */
  found: string;
}

/** A failed check from an exception, so that one broken probe doesn't hide the others. */
export async function guarded(name: string, fix: string, probe: () => Promise<Check>): Promise<Check> {
  try {
    return await probe();
  } catch (error) {
    // Wrong input has a remedy of its own; everything else is mended by set-up.
    const hint = error instanceof BuildError && error.exitCode === EXIT.input ? error.hint : fix;
    return { name, ok: false, fix: hint, found: error instanceof Error ? error.message : String(error) };
  }
}

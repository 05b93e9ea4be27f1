/** What every recipe is given, and what it tells. A recipe is a training described by a configuration: see docs/training.md. */

import type { Backend } from '../../backends/backend.js'
import type { ImageLimits } from '../../image/decode.js'
import type { StrictFields } from '../../strict-fields.js'
import type { Progress, RunOutcome } from '../run/training-run.js'

export interface RecipeOptions {
  readonly backend: Backend
  /** Where the run's files go. */
  readonly folder: string
  /** Against which relative paths of the configuration are resolved. */
  readonly baseFolder: string
  /** Go on with what the folder holds. */
  readonly resume: boolean
  readonly code: { readonly version: string; readonly commit?: string }
  readonly limits: ImageLimits
  /** For decoded pictures. */
  readonly cacheBytes: number
  /** Milliseconds of any clock that does not go back. */
  readonly now: () => number
  /** While a data set is opened. */
  readonly onData?: (what: string, done: number, total: number) => void
  /** Something worth knowing: pictures left out, duplicates. */
  readonly onNote?: (note: string) => void
  readonly onProgress?: (progress: Progress) => void
  readonly signal?: AbortSignal
}

export interface RecipeResult {
  readonly outcome: RunOutcome
  /** What was written at the end: folders of models or SAEs, relative to the run's. Empty when the run was stopped before its end. */
  readonly written: readonly string[]
}

/** `seed`, a whole number; 0 unless said. */
export function readSeed(fields: StrictFields): number {
  return fields.number('seed', { min: 0, max: 2 ** 32 - 1, integer: true, fallback: 0 })
}

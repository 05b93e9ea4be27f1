/**
 * An intervention as a user writes it and as the engine takes it: at a hook point, for some positions and heads, one operation.
 */

/** Positions count CLS (0), then registers, then patches row by row; on attention scores and patterns they select query positions. */
export type PositionSelector = 'all' | 'cls' | 'patches' | readonly number[]

/** Where a hook point's replacement comes from: another input of the same request, or a value given by the caller (a cached run). */
export type PatchSource =
  | { readonly input: number }
  | { readonly values: { readonly shape: readonly number[]; readonly data: Float32Array } }

interface EditTarget {
  readonly hookPoint: string
  /** Default `all`. */
  readonly positions?: PositionSelector
  /** Only at hook points with a head axis. Default: every head. */
  readonly heads?: readonly number[]
}

/** `raw`: the vector as given times the strength; `norm`: the unit vector times the strength. */
export type StrengthUnit = 'raw' | 'norm'

/** `x` is the hook point's value over its last axis, `v` the vector, `s` the strength. */
export type Edit = EditTarget &
  (
    | { readonly op: 'add'; readonly vector: Float32Array; readonly strength: number; readonly unit: StrengthUnit } // x + s v
    | { readonly op: 'set'; readonly vector: Float32Array } // v
    | { readonly op: 'set'; readonly value: number } // every element
    | { readonly op: 'scale'; readonly strength: number } // s x
    | { readonly op: 'zero' }
    | { readonly op: 'mean'; readonly vector?: Float32Array } // a stored mean, else the mean over this request's inputs
    | { readonly op: 'project-out'; readonly vector: Float32Array } // x - (x.u) u, u = v / |v|
    | { readonly op: 'clamp-projection'; readonly vector: Float32Array; readonly min?: number; readonly max?: number } // x + (clamp(x.u) - x.u) u
    | { readonly op: 'patch'; readonly source: PatchSource }
  )

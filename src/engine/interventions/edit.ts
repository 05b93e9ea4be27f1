/**
 * An intervention as a user writes it and as the engine takes it: at a hook point, for some positions and heads, one operation.
 */

/**
 * Positions count CLS (0), then registers, then patches row by row; on attention scores and patterns they select query positions. Truth values are
 * a mask: one for each position.
 */
export type PositionSelector = 'all' | 'cls' | 'patches' | readonly number[] | readonly boolean[]

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
    | FeatureEdit
  )

/**
 * Edits of an SAE's latents z, at the hook point that the SAE writes (of a transcoder: the one it predicts; z is of the one it reads).
 * With the error kept, x' = x + decode(z') - decode(z); without, x' = decode(z'). Latents that are not named keep what the encoder gives them.
 */
export type FeatureEdit = {
  /** Its place among the SAEs that come with the edits (`EditedTower.saes`). */
  readonly sae: number
  /** Default true. */
  readonly keepError?: boolean
} & (
  | { readonly op: 'feature-add'; readonly features: readonly { readonly feature: number; readonly strength: number }[] } // z + s, which may be negative
  | { readonly op: 'feature-set'; readonly features: readonly { readonly feature: number; readonly value: number }[] } // the value
  | { readonly op: 'feature-scale'; readonly features: readonly { readonly feature: number; readonly strength: number }[] } // s z
  | {
      readonly op: 'feature-clamp' // min(max(z, min), max)
      readonly features: readonly { readonly feature: number; readonly min?: number; readonly max?: number }[]
    }
  | { readonly op: 'feature-ablate'; readonly features: readonly { readonly feature: number }[] } // 0
  | { readonly op: 'reconstruct' } // z
)

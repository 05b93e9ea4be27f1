/**
 * How a model wants its pictures, as its own files say it. Applied by `preprocess.ts`, bit-equal to Pillow's 8-bit resampling.
 */

export interface Preprocessing {
  /**
   * `shortestEdge`: the shorter side becomes `size`, the other follows with Pillow / transformers rounding (floor). `exact`: squash to
   * height x width. `longestEdge`: fit inside, then pad. Null: no resize.
   */
  readonly resize:
    | { readonly kind: 'shortestEdge'; readonly size: number }
    | { readonly kind: 'exact'; readonly height: number; readonly width: number }
    | { readonly kind: 'longestEdge'; readonly height: number; readonly width: number; readonly fill: number }
    | null
  readonly resample: 'nearest' | 'bilinear' | 'bicubic' | 'lanczos' | 'box' | 'hamming'
  /** Centre crop after the resize, zero-padded where the picture is smaller. */
  readonly crop: { readonly height: number; readonly width: number } | null
  /** Multiplies 0..255 bytes; 1/255 unless the model says otherwise. */
  readonly rescale: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  /** `L` for one-channel models. */
  readonly mode: 'RGB' | 'L'
}

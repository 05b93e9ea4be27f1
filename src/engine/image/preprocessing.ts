/**
 * How a model wants its pictures, as its own files say it. Applied by `preprocess.ts`, bit-equal to Pillow's 8-bit resampling.
 */

/**
 * `shortestEdge`: the shorter side becomes `size`, the other follows, rounded down (transformers, torchvision). `exact`: squash to height x width.
 * `cover`: keep the ratio, both sides at least height x width, rounded half to even (open_clip and timm, targets that are not square).
 * `longestEdge`: keep the ratio, fit inside height x width, rounded half to even; then the crop (or, without one, height x width)
 * pads with `fill`, one byte or one a channel. Null: no resize.
 */
export type Resize =
  | { readonly kind: 'shortestEdge'; readonly size: number }
  | { readonly kind: 'exact'; readonly height: number; readonly width: number }
  | { readonly kind: 'cover'; readonly height: number; readonly width: number }
  | { readonly kind: 'longestEdge'; readonly height: number; readonly width: number; readonly fill: number | readonly number[] }
  | null

export type ResampleFilter = 'nearest' | 'bilinear' | 'bicubic' | 'lanczos' | 'box' | 'hamming'

export interface Preprocessing {
  readonly resize: Resize
  readonly resample: ResampleFilter
  /** Centre crop after the resize, padded with black (or `longestEdge`'s fill) where the picture is smaller. */
  readonly crop: { readonly height: number; readonly width: number } | null
  /**
   * Where an odd margin goes. `floor` (transformers on Pillow): crops from floor(margin / 2), and pads the larger half before.
   * `halfToEven` (torchvision, so open_clip and timm): crops from margin / 2 rounded half to even, and pads the larger half after.
   * Default `floor`.
   */
  readonly cropRounding?: 'floor' | 'halfToEven'
  /** Multiplies 0..255 bytes; 1/255 unless the model says otherwise. */
  readonly rescale: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  /** `L` for one-channel models. */
  readonly mode: 'RGB' | 'L'
  /**
   * How what is not RGB in the file (palette, alpha, inks) becomes RGB. Absent: before the resize, alpha dropped, as `Image.convert('RGB')`
   * does. `afterResize`: resized as the file has it, which Pillow does by nearest neighbour for palettes and with colours weighted by alpha;
   * alpha dropped at the end (open_clip, and CLIP's first code).
   */
  readonly conversion?: 'afterResize'
  /** Which of the model's files said so; `default` when none did (see read-preprocessing.ts). */
  readonly source?: string
}

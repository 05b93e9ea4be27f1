/**
 * What a checkpoint layout of SAEs is: how to recognise it, how its own configuration becomes ours, and which of its tensors is which
 * parameter. One file each beside this one; `registry.ts` lists them.
 *
 * A configuration that does not say something that changes the numbers is never filled in silently: a rule decides, and the rule is
 * recorded with what it decided.
 */

import type { PlainData } from '../../io/pickle-values.js'
import type { Tensor } from '../../tensor.js'
import type { SaeConfig, TranscoderConfig } from '../sae.js'

export type SaeLayoutName = 'vit-prisma' | 'sae-lens' | 'refract'

export type Weights = Readonly<Record<string, Tensor<'float32'>>>

/** Something that the configuration left open, contradicted itself in, or that was rewritten: what was decided, and by which rule. */
export interface Resolution {
  /** As the layout spells it. */
  readonly field: string
  readonly rule: string
}

/** What whoever loads an SAE knows better than its files. */
export interface SaeOverrides
  extends Partial<Pick<SaeConfig, 'hookPoint' | 'headIndex' | 'activation' | 'k' | 'normalization' | 'subtractsDecoderBias'>>,
    Partial<Pick<TranscoderConfig, 'hookPointOut' | 'skip'>> {}

/** What the files say of the training, as far as they do. Nothing here changes what is computed. */
export interface SaeTraining {
  /** The library's name of the model: `open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K`. */
  readonly modelName?: string
  readonly positions?: 'all' | 'cls' | 'patches'
  readonly datasetName?: string
  readonly l1Coefficient?: number
  /** Where it differs from what inference needs: `batchtopk`, `matryoshka_batchtopk`. */
  readonly architecture?: string
}

export interface StoredTensor {
  readonly dtype: string
  readonly shape: readonly number[]
}

/** An SAE's folder before any weight is read. */
export interface SaeFiles {
  /** Parsed JSON files, by name. */
  readonly json: ReadonlyMap<string, SavedConfig>
  readonly weightsFile: string
  /** Headers of the weights. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** What the weights' file holds beside them. */
  readonly besides: Readonly<Record<string, PlainData>>
}

export type SavedConfig = Readonly<Record<string, PlainData>>

/** One tensor to read. */
export interface WeightRule {
  /** As the file spells it. */
  readonly source: string
  readonly shape: readonly number[]
  /** The parameter, of the same shape; absent where only `rewrite` uses it. */
  readonly to?: string
}

/** What a layout says of one SAE. */
export interface SaeReading {
  /** How the weights are stored: `plain`, `with configuration`, `SAELens 2`, `safetensors`. */
  readonly form: string
  readonly config: SaeConfig
  readonly rules: readonly WeightRule[]
  /** Tensors that the file may hold and the SAE does not use. */
  readonly ignored: readonly string[]
  /** What is done to the weights once they are read; gives the parameters of `config`. `extra`: tensors without a parameter, by source. */
  readonly rewrite?: (weights: Weights, extra: Weights) => Weights
  readonly resolvedBy: readonly Resolution[]
  readonly training: SaeTraining
  readonly saved: SavedConfig
}

/** What is written: the files of a folder, and what could not be said in the layout as it was. */
export interface WrittenFile {
  readonly name: string
  readonly content: string | Iterable<Uint8Array>
}

export interface SaeToWrite {
  readonly config: SaeConfig
  readonly weights: Weights
  readonly training?: SaeTraining
  /** log10 of how often each latent is active, `[dSae]`. */
  readonly logFeatureSparsity?: Tensor<'float32'>
}

export interface SaeLayout {
  readonly name: SaeLayoutName
  /** The file that holds the weights, of those in the folder; undefined: this is not an SAE of this layout. */
  readonly weightsFile: (present: readonly string[]) => string | undefined
  /** JSON files that are read when they are there. */
  readonly configFiles: readonly string[]
  /** @throws FILE_INVALID, MODEL_UNSUPPORTED */
  readonly read: (files: SaeFiles, overrides: SaeOverrides) => SaeReading
  /** The file with log10 feature frequencies, of those in the folder, and its tensor's name (absent: the file is the tensor). */
  readonly sparsityFile: (
    present: readonly string[],
    weightsFile: string,
  ) => { readonly file: string; readonly tensor?: string } | undefined
  /** @throws MODEL_UNSUPPORTED with everything that the layout cannot express */
  readonly write: (sae: SaeToWrite) => readonly WrittenFile[]
}

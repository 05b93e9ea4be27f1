/**
 * What a model is to the rest of the engine: configurations (what a graph is built from), a description (what can be asked of it,
 * known without its weights) and the files it came from.
 */

import type { Axis } from '../graph/graph.js'
import type { Preprocessing } from '../image/preprocessing.js'

/** Activation functions, by ViT-Prisma's names; `docs/compatibility.md` lists what each checkpoint's own name maps to. */
export type Activation = 'relu' | 'gelu' | 'gelu_new' | 'gelu_fast' | 'silu' | 'quick_gelu' | 'solu_ln'

/** What both towers share: a stack of pre-norm transformer blocks. */
export interface TransformerConfig {
  readonly nLayers: number
  readonly dModel: number
  readonly nHeads: number
  readonly dHead: number
  /** Absent in an attention-only model. */
  readonly dMlp?: number
  readonly activation: Activation
  /** `layerNorm` with weights, `layerNormPre` without, `none`: no normalisation anywhere and no hook points for it. */
  readonly normalization: 'layerNorm' | 'layerNormPre' | 'none'
  readonly normEps: number
  /** Which linear layers have biases. */
  readonly biases: { readonly qkv: boolean; readonly attnOut: boolean; readonly mlp: boolean }
  /** False: attention scores are not divided by sqrt(dHead). */
  readonly scaleAttention: boolean
  /** A learned factor per channel on each half's output (DINOv2). */
  readonly layerScale: boolean
  /** L2-normalise the output. */
  readonly normalizeOutput: boolean
}

export interface VisionConfig extends TransformerConfig {
  readonly imageSize: { readonly height: number; readonly width: number }
  readonly patchSize: { readonly height: number; readonly width: number }
  readonly nChannels: number
  readonly patchBias: boolean
  readonly hasCls: boolean
  readonly nRegisters: number
  /** LayerNorm before the first block (CLIP). */
  readonly lnPre: boolean
  /** Final LayerNorm: over all tokens before pooling, after pooling (timm's fc_norm), or absent. */
  readonly finalNorm: 'tokens' | 'pooled' | 'none'
  /**
   * How the output is made of the tokens; `mean` is over patches, `meanAll` over every token, `clsAndMean` puts both side by side
   * (DINOv2's classifier), `none` passes all tokens on.
   */
  readonly pooling: 'cls' | 'mean' | 'meanAll' | 'clsAndMean' | 'patches' | 'none'
  /** `classes`: logits; `projection`: CLIP's embedding; `none`: the pooled features. */
  readonly head: { readonly kind: 'classes' | 'projection' | 'none'; readonly dOut: number; readonly bias: boolean }
}

export interface TextConfig extends TransformerConfig {
  readonly contextLength: number
  readonly vocabSize: number
  readonly causal: boolean
  /** The pooled row: of the largest token id (CLIP's end-of-text), of the first `eosTokenId`, or at one end of the context (CLIPA). */
  readonly pooling: { readonly kind: 'argmax' | 'first' | 'last' } | { readonly kind: 'eos'; readonly eosTokenId: number }
  readonly head: { readonly kind: 'projection' | 'none'; readonly dOut: number; readonly bias: boolean }
}

export type TowerName = 'vision' | 'text'

export interface HookPointInfo {
  readonly name: string
  readonly axes: readonly Axis[]
  /** Lengths of `axes`; the batch axis is the string `batch`. */
  readonly shape: readonly (number | string)[]
  readonly meaning: string
  /** True for hook points that cost extra work and are built only when read or edited (`attn.hook_result`, ...). */
  readonly optional: boolean
}

export interface TowerDescription {
  readonly config: VisionConfig | TextConfig
  /** In firing order, the optional ones included. */
  readonly hookPoints: readonly HookPointInfo[]
  readonly output: { readonly axes: readonly Axis[]; readonly shape: readonly (number | string)[] }
  readonly nParameters: number
}

/** Everything that can be said of a model without its weights in memory. Serialisable; the catalog stores it. */
export interface ModelDescription {
  /** The checkpoint layout it was read from: `hf-clip`, `open-clip`, `hf-vit`, `hf-dinov2`, `timm`, `vit-prisma`, `toy`, `refract`. */
  readonly layout: string
  readonly vision: TowerDescription
  readonly text?: TowerDescription
  readonly preprocessing: Preprocessing
  /** CLIP's learned temperature, already exponentiated, and SigLIP-style bias where there is one. */
  readonly logitScale?: number
  readonly logitBias?: number
  /** Class names of a classifier, by index. */
  readonly classLabels?: readonly string[]
  /** Weight processing applied at load, in this order; empty by default. */
  readonly processing: readonly WeightProcessing[]
}

export type WeightProcessing = 'fold-layer-norm' | 'centre-writing-weights' | 'fold-value-biases'

/**
 * Random weights for a model to begin training with, for any configuration that a graph can be built from. What the published recipes draw
 * for each kind of weight is a row of `schemes`. The same in all: biases 0, norms 1 and 0, layer scale by depth.
 *
 * Every weight has a random sequence of its own, made from the seed and its name: it does not change when others come or go.
 */

import { isVision, type TowerConfig } from '../hook-points.js'
import type { Random } from '../random.js'
import { elementCount, type Tensor } from '../tensor.js'
import { weightSize } from './linear.js'
import { textGraph } from './text-tower.js'
import { visionGraph } from './vit.js'

/**
 * Where the random numbers come from (d = dModel, L = nLayers):
 *
 *   clip         transformers' CLIPModel: q, k, v and the MLP's second layer 1 / sqrt(2 L d); the output projection and the heads 1 / sqrt(d);
 *                the MLP's first layer 1 / sqrt(2 d); CLS 1 / sqrt(d); patches, tokens, positions 0.02
 *   openai-clip  the paper's own code: as `clip`, but what writes to the residual stream (output projection, the MLP's second layer) has
 *                1 / sqrt(2 L d) and q, k, v have 1 / sqrt(d); positions 0.01 in a text tower, 1 / sqrt(d) in a vision tower
 *   vit          transformers' ViT, and timm's: 0.02 everywhere. (Both say "truncated", at -2 and 2: at 100 standard deviations.)
 *   he           ViT-Prisma's recipe: attention uniform with variance 2 / (in + out) (Glorot), MLP, head and patches normal with variance
 *                2 / in (He), positions 0.02, CLS 1e-6
 *   vit-prisma   the same as that library really draws it. Its weights are stored `[in, out]`, by head, and torch's rules take another axis
 *                for the inputs: variance 2 / out in the MLP and the head; in attention (in + head) times the width of a head, or of the model
 *
 * @see transformers models/clip/modeling_clip.py and models/vit/modeling_vit.py (`_init_weights`), CLIP's model.py
 *   (`initialize_parameters`), timm's `init_weights_vit_timm`, ViT-Prisma's models/base_vit.py (`init_weights`)
 */
export type InitScheme = keyof typeof schemes

/** CLIP's first temperature, as the logarithm that is trained: ln(1 / 0.07). */
export const initialLogScale = Math.log(1 / 0.07)

/**
 * @param random  only its seed counts; a model of two towers may use one for both
 * @param scheme  by default `vit` for a vision tower and `clip` for a text tower
 * @returns       by parameter name, one for each parameter of the tower's graph
 */
export function initializeWeights(
  config: TowerConfig,
  random: Random,
  { scheme = isVision(config) ? 'vit' : 'clip' }: { readonly scheme?: InitScheme } = {},
): Record<string, Tensor<'float32'>> {
  const tower = isVision(config) ? 'vision' : 'text'
  const { parameters } = isVision(config) ? visionGraph(config) : textGraph(config)
  return Object.fromEntries(
    Object.entries(parameters).map(([name, { shape }]) => {
      const lengths = shape as readonly number[]
      const distribution = distributionOf(name, lengths, config, scheme)
      return [name, drawn(lengths, distribution, () => random.fork(`${tower}/${name}`))]
    }),
  )
}

export const initSchemes = (): InitScheme[] => Object.keys(schemes) as InitScheme[]

/** Kinds of weight that a scheme decides about. */
type Kind = 'patches' | 'tokens' | 'cls' | 'positions' | 'qkv' | 'attnOut' | 'mlpIn' | 'mlpOut' | 'head'

type Distribution =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'normal'; readonly std: number }
  /** Between -bound and bound. */
  | { readonly kind: 'uniform'; readonly bound: number }

interface Sizes {
  readonly config: TowerConfig
  /** Of the layer that the weight is of; of a convolution's patch. */
  readonly dIn: number
  readonly dOut: number
}

type Rule = (sizes: Sizes) => Distribution

const constant = (value: number): Distribution => ({ kind: 'constant', value })
const normal = (std: number): Distribution => ({ kind: 'normal', std })
const always =
  (std: number): Rule =>
  () =>
    normal(std)
/** 1 / sqrt(d), and the same for each of the 2 L branches that add up in the residual stream. */
const byWidth: Rule = ({ config }) => normal(config.dModel ** -0.5)
const byWidthAndDepth: Rule = ({ config }) => normal((2 * config.nLayers * config.dModel) ** -0.5)
const mlpByWidth: Rule = ({ config }) => normal((2 * config.dModel) ** -0.5)

const glorot = (fans: number): Distribution => ({ kind: 'uniform', bound: Math.sqrt(6 / fans) })
const he: Rule = ({ dIn }) => normal(Math.sqrt(2 / dIn))
const heByOutputs: Rule = ({ dOut }) => normal(Math.sqrt(2 / dOut))

const clip: Record<Kind, Rule> = {
  patches: always(0.02),
  tokens: always(0.02),
  cls: byWidth,
  positions: always(0.02),
  qkv: byWidthAndDepth,
  attnOut: byWidth,
  mlpIn: mlpByWidth,
  mlpOut: byWidthAndDepth,
  head: byWidth,
}
const small = always(0.02)
const vit: Record<Kind, Rule> = {
  patches: small,
  tokens: small,
  cls: small,
  positions: small,
  qkv: small,
  attnOut: small,
  mlpIn: small,
  mlpOut: small,
  head: small,
}
const prisma: Record<Kind, Rule> = {
  patches: he,
  tokens: always(0.02),
  cls: always(1e-6),
  positions: always(0.02),
  qkv: ({ dIn, dOut }) => glorot(dIn + dOut),
  attnOut: ({ dIn, dOut }) => glorot(dIn + dOut),
  mlpIn: he,
  mlpOut: he,
  head: he,
}

const schemes = {
  clip,
  'openai-clip': {
    ...clip,
    positions: ({ config }) => normal(isVision(config) ? config.dModel ** -0.5 : 0.01),
    qkv: byWidth,
    attnOut: byWidthAndDepth,
  },
  vit,
  he: prisma,
  'vit-prisma': {
    ...prisma,
    // torch's fans of [head, d, dHead] and [head, dHead, d]: the second axis and the first, each times the third
    qkv: ({ config: { nHeads, dModel, dHead } }) => glorot((dModel + nHeads) * dHead),
    attnOut: ({ config: { nHeads, dModel, dHead } }) => glorot((dHead + nHeads) * dModel),
    mlpIn: heByOutputs,
    mlpOut: heByOutputs,
    head: heByOutputs,
  },
} as const satisfies Record<string, Record<Kind, Rule>>

/** Which kind a parameter is, by the end of its name; the rest are constants. */
const kinds: readonly (readonly [ending: RegExp, kind: Kind])[] = [
  [/^embed\.proj\.weight$/, 'patches'],
  [/^embed\.W_E$/, 'tokens'],
  [/^(cls_token|register_tokens)$/, 'cls'],
  [/^pos_embed\.W_pos$/, 'positions'],
  [/\.attn\.W_[QKV]$/, 'qkv'],
  [/\.attn\.W_O$/, 'attnOut'],
  [/\.mlp\.W_in$/, 'mlpIn'],
  [/\.mlp\.W_out$/, 'mlpOut'],
  [/^head\.W_H$/, 'head'],
]

function distributionOf(name: string, shape: readonly number[], config: TowerConfig, scheme: InitScheme): Distribution {
  const kind = kinds.find(([ending]) => ending.test(name))?.[1]
  if (kind !== undefined) return schemes[scheme][kind]({ config, ...layerSize(kind, shape) })
  if (/\.ls[12]$/.test(name)) return constant(layerScaleOf(config.nLayers))
  return constant(/(^|\.)ln\w*\.w$/.test(name) ? 1 : 0)
}

function layerSize(kind: Kind, shape: readonly number[]): { dIn: number; dOut: number } {
  if (kind === 'patches') return { dOut: shape[0]!, dIn: elementCount(shape.slice(1)) }
  return shape.length === 2 ? weightSize(shape) : { dIn: 1, dOut: 1 }
}

/** Touvron et al. (2021), "Going deeper with Image Transformers", section 2.2. */
function layerScaleOf(nLayers: number): number {
  if (nLayers <= 18) return 0.1
  return nLayers <= 24 ? 1e-5 : 1e-6
}

function drawn(shape: readonly number[], distribution: Distribution, ownRandom: () => Random): Tensor<'float32'> {
  const data = new Float32Array(elementCount(shape))
  switch (distribution.kind) {
    case 'constant':
      data.fill(distribution.value)
      break
    case 'normal': {
      const random = ownRandom()
      for (let i = 0; i < data.length; i++) data[i] = random.normal() * distribution.std
      break
    }
    case 'uniform': {
      const random = ownRandom()
      for (let i = 0; i < data.length; i++) data[i] = (2 * random.uniform() - 1) * distribution.bound
      break
    }
    default:
      distribution satisfies never
  }
  return { dtype: 'float32', shape, data }
}

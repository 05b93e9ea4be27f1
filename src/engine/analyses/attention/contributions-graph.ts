/** An SAE's pre-activation in parts, as a graph; see head-contributions.ts for the formula. */

import type { GraphBuilder } from '../../graph/builder.js'
import { reshape, sumOver, transpose } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import { nPositions } from '../../hook-points.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { VisionConfig } from '../../models/model.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { encoderInput } from '../../saes/encode-decode.js'
import type { SaeConfig } from '../../saes/sae.js'
import { int64 } from '../../tensor.js'

/** What writes to what an SAE reads: heads of the layers `firstLayer` to `lastLayer`, MLPs below `nMlps`. */
export interface ReadSite {
  readonly firstLayer: number
  /** Included. -1: none. */
  readonly lastLayer: number
  readonly nMlps: number
  readonly withEmbed: boolean
}

/** Undefined where an SAE reads something that is no sum of what heads wrote. */
export function readSite({ hookPoint, headIndex, flattensHeads }: SaeConfig): ReadSite | undefined {
  const found = /^blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post|attn_out)$/.exec(hookPoint)
  if (!found || headIndex !== undefined || flattensHeads) return undefined
  const layer = Number(found[1])
  switch (found[2] as 'resid_pre' | 'resid_mid' | 'resid_post' | 'attn_out') {
    case 'resid_pre':
      return { firstLayer: 0, lastLayer: layer - 1, nMlps: layer, withEmbed: true }
    case 'resid_mid':
      return { firstLayer: 0, lastLayer: layer, nMlps: layer, withEmbed: true }
    case 'resid_post':
      return { firstLayer: 0, lastLayer: layer, nMlps: layer + 1, withEmbed: true }
    case 'attn_out':
      return { firstLayer: layer, lastLayer: layer, nMlps: 0, withEmbed: false }
  }
}

export interface ContributionParts {
  readonly config: VisionConfig
  readonly sae: SaeConfig
  readonly site: ReadSite
}

/**
 * Inputs `latent` int64 `[1]`; `wanted` int64 `[batch]`, the position or -1 for where the pre-activation is largest; `positions`, all of them
 * in order. Outputs `contributions.*`.
 */
export function contributionsGraph({ graph, types }: BuiltTower, { config, sae, site }: ContributionParts): Graph {
  const editor = new GraphEditor(graph, types)
  const at = editor.graph().nodes.length
  const b = editor.builderAt(at, 'contributions/')
  const encoder = encoderOf(b, sae)
  const { pre, factor } = encoded(b, sae, encoder)
  const chosen = choosePosition(b, pre, config)
  /** The row of the chosen position, `[batch, 1, d]` of `[batch, pos, d]`. */
  const there = (x: string) => b.op('MatMul', [chosen.oneHot, x])
  const scaled = (x: string) => (factor === undefined ? x : b.op('Mul', [x, there(factor)])) // [batch, 1, d]
  /** What a vector of the residual stream adds, `[batch, 1]`. */
  const adds = (x: string) => reshape(b, scaled(b.op('MatMul', [there(x), encoder.direction])), [-1, 1])
  const layers = Array.from({ length: site.lastLayer - site.firstLayer + 1 }, (_, place) => site.firstLayer + place)
  const zero = () => b.op('Sub', [chosen.pre, chosen.pre]) // [batch, 1]
  const joined = (parts: readonly string[]) => (parts.length === 0 ? zero() : b.op('Concat', [...parts], { axis: 1 }))

  const heads = layers.map((layer) =>
    b.op('Unsqueeze', [headParts(b, layer, { config, encoder, oneHot: chosen.oneHot, scaled }), axis(b, 1)]),
  )
  const attnBias = layers.map((layer) => biasPart(b, layer, { config, encoder, chosen: chosen.pre, factor, there }))
  const mlps = config.dMlp === undefined ? [] : Array.from({ length: site.nMlps }, (_, layer) => adds(`blocks.${layer}.hook_mlp_out`))
  const flat = (x: string) => reshape(b, x, [-1])
  const made = {
    position: b.op('Identity', [chosen.position]),
    pre: flat(chosen.pre),
    heads: b.op('Concat', heads, { axis: 1 }),
    attnBias: joined(attnBias),
    mlp: joined(mlps),
    embed: flat(site.withEmbed ? adds('blocks.0.hook_resid_pre') : zero()),
    bias: flat(b.op('Add', [zero(), encoder.bias])),
  }
  const names = Object.entries(made).map(([name, value]) => b.named(`contributions.${name}`, value))
  editor.insert(at, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs: names })
}

interface Encoder {
  /** `[dIn, 1]`: the latent's column. */
  readonly column: string
  /** The same for a part of the input before the normalisation takes away its mean. */
  readonly direction: string
  /** `[1]`: what is added after the column. */
  readonly ownBias: string
  /** `[1]`: and what the decoder's bias takes away before it, too. */
  readonly bias: string
}

function encoderOf(b: GraphBuilder, sae: SaeConfig): Encoder {
  const prefix = saePrefix(0)
  const latent = b.input('latent', 'int64', [1])
  const own = (name: string) => b.op('Gather', [b.parameter(`${prefix}${name}`, [sae.dSae]), latent], { axis: 0 }) // [1]
  const raw = b.op('Gather', [b.parameter(`${prefix}W_enc`, [sae.dIn, sae.dSae]), latent], { axis: 1 })
  const isGated = sae.architecture === 'gated'
  const column = isGated ? b.op('Mul', [raw, b.op('Exp', [own('r_mag')])]) : raw
  const ownBias = own(isGated ? 'b_mag' : 'b_enc')
  const taken = sae.subtractsDecoderBias
    ? b.op('MatMul', [b.parameter(`${prefix}b_dec`, [sae.dIn]), column]) // [1]
    : undefined
  const mean = () => b.op('ReduceMean', [column, axis(b, 0)], { keepdims: 1 })
  return {
    column,
    direction: sae.normalization === 'layer_norm' ? b.op('Sub', [column, mean()]) : column,
    ownBias,
    bias: taken === undefined ? ownBias : b.op('Sub', [ownBias, taken]),
  }
}

/** `pre` `[batch, pos]`, and what the normalisation multiplies tokens by, `[batch, pos, 1]`. */
function encoded(b: GraphBuilder, sae: SaeConfig, { column, ownBias }: Encoder): { pre: string; factor: string | undefined } {
  const { saeIn, normalized } = encoderInput(b, sae.hookPoint, sae, { prefix: saePrefix(0), axes: ['batch', 'pos', 'dModel'] })
  const pre = b.op('Add', [b.op('Squeeze', [b.op('MatMul', [saeIn, column]), axis(b, 2)]), ownBias])
  const factor = normalized.factor?.()
  if (factor === undefined || sae.normalization !== 'expected_average_only_in') return { pre, factor }
  // one factor for all tokens
  return { pre, factor: b.op('Expand', [factor, b.op('Concat', [b.op('Shape', [pre]), b.constant(int64([1], [1]))], { axis: 0 })]) }
}

/** `oneHot` `[batch, 1, pos]`, `position` `[batch]`, `pre` `[batch, 1]` at it. */
function choosePosition(b: GraphBuilder, pre: string, config: VisionConfig) {
  const wanted = b.input('wanted', 'int64', ['batch'])
  const positions = b.input('positions', 'int64', [nPositions(config)])
  const best = b.op('ArgMax', [pre], { axis: 1, keepdims: 0 })
  const position = b.op('Where', [b.op('GreaterOrEqual', [wanted, b.constant(int64([], [0]))]), wanted, best])
  const isThere = b.op('Equal', [b.op('Unsqueeze', [position, axis(b, 1)]), positions])
  const oneHot = b.op('Unsqueeze', [b.op('Cast', [isThere], { to: 'float32' }), axis(b, 1)])
  const there = reshape(b, b.op('MatMul', [oneHot, b.op('Unsqueeze', [pre, axis(b, 2)])]), [-1, 1])
  return { oneHot, position, pre: there }
}

interface PartOf {
  readonly config: VisionConfig
  readonly encoder: Encoder
}

/** What attention of a layer writes is scaled by channel in some models: the direction that its own output meets, `[dModel, 1]`. */
function ofLayer(b: GraphBuilder, layer: number, { config, encoder }: PartOf): string {
  if (!config.layerScale) return encoder.direction
  return b.op('Mul', [reshape(b, b.parameter(`blocks.${layer}.ls1`, [config.dModel]), [-1, 1]), encoder.direction])
}

/** `[batch, head, kPos]`: pattern from the chosen position, times what each head's value there is along the direction. */
function headParts(
  b: GraphBuilder,
  layer: number,
  { oneHot, scaled, ...part }: PartOf & { oneHot: string; scaled: (x: string) => string },
): string {
  const { nHeads, dHead, dModel } = part.config
  const name = `blocks.${layer}.attn`
  const weight = b.parameter(`${name}.W_O`, [dModel, nHeads * dHead])
  const direction = reshape(b, b.op('MatMul', [transpose(b, weight, [1, 0]), ofLayer(b, layer, part)]), [1, 1, nHeads, dHead])
  const values = b.op('Squeeze', [sumOver(b, b.op('Mul', [`${name}.hook_v`, direction]), -1), axis(b, 3)]) // [batch, pos, head]
  const row = b.op('MatMul', [b.op('Unsqueeze', [oneHot, axis(b, 1)]), `${name}.hook_pattern`]) // [batch, head, 1, kPos]
  return scaled(b.op('Mul', [b.op('Squeeze', [row, axis(b, 2)]), transpose(b, values, [0, 2, 1])]))
}

/** `[batch, 1]` */
function biasPart(
  b: GraphBuilder,
  layer: number,
  { chosen, factor, there, ...part }: PartOf & { chosen: string; factor: string | undefined; there: (x: string) => string },
): string {
  const zero = b.op('Sub', [chosen, chosen])
  if (!part.config.biases.attnOut) return zero
  const added = b.op('MatMul', [b.parameter(`blocks.${layer}.attn.b_O`, [part.config.dModel]), ofLayer(b, layer, part)]) // [1]
  return b.op('Add', [zero, factor === undefined ? added : b.op('Mul', [reshape(b, there(factor), [-1, 1]), added])])
}

const axis = (b: GraphBuilder, index: number) => b.constant(int64([1], [index]))

/**
 * The two graphs of feature attribution. One takes the gradient of a score (or of a feature) through everything, for how much each node matters in
 * all; the other takes the gradients of chosen nodes back to the nodes right before them, past which nothing goes, for edges.
 */

import type { GraphBuilder } from '../../../graph/builder.js'
import { differentiate, gradientName } from '../../../graph/differentiate.js'
import { type MakeEdit, replaceEach } from '../../../graph/edit.js'
import { reshape, scaleBy, sumOver } from '../../../graph/expressions.js'
import type { Graph } from '../../../graph/graph.js'
import { GraphEditor } from '../../../graph/graph-editor.js'
import { prune } from '../../../graph/prune.js'
import { nPositions } from '../../../hook-points.js'
import type { BuiltTower } from '../../../interventions/built-towers.js'
import type { VisionConfig } from '../../../models/model.js'
import { saePrefix } from '../../../saes/attach-saes.js'
import type { SaeConfig } from '../../../saes/sae.js'
import { int64 } from '../../../tensor.js'
import type { Scoring } from '../../targets.js'
import { type Freeze, frozen } from './frozen.js'
import { cutOff, type Site, siteNames, throughFeatures } from './sites.js'

/** Inputs that say what is attributed, a row for each. Zero: nothing of that. */
export const seedInputs = {
  /** Along the model's output, `[batch, dOut]`. */
  direction: 'seed/direction',
  /** Of an SAE, along what its encoder reads, `[batch, pos, dIn]`. */
  sae: (index: number) => `seed/sae[${index}]`,
  /** Of a layer's attention, along what its heads mix, `[batch, pos, head, dHead]`. */
  heads: (layer: number) => `seed/heads[${layer}]`,
} as const

/** `[batch]`: what the gradients are of. */
export const SEEDED = 'seeded'

export interface GraphSetting {
  readonly config: VisionConfig
  readonly scoring: Scoring
  readonly sites: readonly Site[]
  readonly freeze: Freeze
  /** Whether heads are nodes. */
  readonly heads: boolean
}

/** `[batch, pos, dModel]`: what tokens are before the first block, and before `ln_pre`. */
export const TOKENS = 'hook_full_embed'
export const zOf = (layer: number) => `blocks.${layer}.attn.hook_z`

/** Names of the outputs of `totalGraph`. */
export const totalOutputs = {
  /** Of an SAE: its most important features, each `[batch, k]`; where, is an index along pos times dSae. */
  features: (index: number) => ({
    values: `total[${index}]/values`,
    places: `total[${index}]/places`,
    activations: `total[${index}]/activations`,
    coefficients: `total[${index}]/coefficients`,
    /** Of all features, `[batch]`: their sum, and that of their sizes. */
    sum: `total[${index}]/sum`,
    size: `total[${index}]/size`,
  }),
  /** `[batch, pos]` */
  errors: (index: number) => `total[${index}]/errors`,
  /** `[batch]`: what is neither feature nor error. */
  constants: (index: number) => `total[${index}]/constants`,
  /** `[batch, pos]` */
  tokens: 'total/tokens',
  /** Of a layer, `[batch, pos, head]`. */
  heads: (layer: number) => `total/heads[${layer}]`,
  /** `[]`: of the model's biases and the encoders', over the batch. */
  biases: 'total/biases',
} as const

/** @param k  features of each SAE */
export function totalGraph(built: BuiltTower, { k, ...setting }: GraphSetting & { readonly k: readonly number[] }): Graph {
  const { config, sites, heads } = setting
  const stopAt: string[] = []
  const constants = { stopAt, norms: setting.freeze.norms }
  const edits = sites.map((site) => ({ hookPoint: site.hookPoint, edit: throughFeatures(site, constants) }))
  const spliced = replaceEach(built.graph, edits, built.types).graph
  const seeded = withSeeds(spliced, setting, { stopAt, heads: () => undefined })
  const layers = heads ? Array.from({ length: config.nLayers }, (_, layer) => layer) : []
  const biases = Object.keys(seeded.graph.parameters).filter(isBias)
  const targets = [...sites.map(({ hookPoint }) => hookPoint), ...layers.map(zOf), TOKENS, ...biases]
  const gradients = differentiate(seeded.graph, SEEDED, [...new Set(targets)], { stopAt: [...stopAt, ...seeded.stopAt] })
  return appended(gradients, (b) => {
    const outputs = sites.flatMap((site, at) => siteTotals(b, site, { k: k[at]!, length: nPositions(config) }))
    const named = (name: string, value: string) => b.named(name, value)
    const products = biases.map((name) => b.op('ReduceSum', [times(b, name)], { keepdims: 0 }))
    return [
      SEEDED,
      ...outputs,
      named(totalOutputs.tokens, sumOfLast(b, times(b, TOKENS))),
      ...layers.map((layer) => named(totalOutputs.heads(layer), sumOfLast(b, times(b, zOf(layer))))),
      ...(products.length === 0
        ? []
        : [
            named(
              totalOutputs.biases,
              products.reduce((sum, value) => b.op('Add', [sum, value])),
            ),
          ]),
      // what nodes write and what they are read by, for edges
      TOKENS,
      ...sites.flatMap(({ index }) => [siteNames(index).whole, siteNames(index).error]),
      ...layers.flatMap((layer) => [zOf(layer), gradientName(zOf(layer))]),
    ]
  })
}

/** Outputs: the gradients at `node` of every site, at tokens and heads, under `gradientName`; and what they are of. */
export function directGraph(built: BuiltTower, setting: GraphSetting): Graph {
  const { config, sites, heads } = setting
  const stopAt: string[] = []
  const constants = { stopAt, norms: setting.freeze.norms }
  const before = new Map<number, string>()
  const cutHeads: MakeEdit = ({ builder: b, value, hookPoint }) => {
    const layer = Number(hookPoint.name.split('.')[1])
    before.set(layer, value)
    const rest = b.named(`${hookPoint.name}/rest`, b.op('Identity', [value]))
    stopAt.push(rest)
    return b.op('Identity', [rest])
  }
  const layers = heads ? Array.from({ length: config.nLayers }, (_, layer) => layer) : []
  const cut = replaceEach(
    built.graph,
    [
      ...sites.map((site) => ({ hookPoint: site.hookPoint, edit: cutOff(site, constants) })),
      ...layers.map((layer) => ({ hookPoint: zOf(layer), edit: cutHeads })),
    ],
    built.types,
  ).graph
  const seeded = withSeeds(cut, setting, { stopAt, heads: (layer) => before.get(layer) })
  const targets = [...sites.map(({ index }) => siteNames(index).node), ...layers.map(zOf), TOKENS]
  const gradients = differentiate(seeded.graph, SEEDED, targets, { stopAt: [...stopAt, ...seeded.stopAt] })
  return prune({ ...gradients, outputs: [SEEDED, ...targets.map((target) => gradientName(target))] })
}

/** Rows of an SAE's decoder and columns of its encoder: int64 `latents` `[n]`; outputs `rows` `[n, dOut]`, `columns` `[n, dIn]`. */
export function latentGraph(b: GraphBuilder, { dIn, dOut, dSae, architecture }: SaeConfig, prefix: string): Graph {
  const latents = b.input('latents', 'int64', ['n'])
  const rows = b.named('rows', b.op('Gather', [b.parameter(`${prefix}W_dec`, [dSae, dOut]), latents], { axis: 0 }))
  const columns = b.op('Transpose', [b.op('Gather', [b.parameter(`${prefix}W_enc`, [dIn, dSae]), latents], { axis: 1 })], { perm: [1, 0] })
  if (architecture !== 'gated') return b.build([rows, b.named('columns', columns)])
  // of a gated SAE the pre-activation is that of its magnitudes
  const factors = b.op('Exp', [b.op('Gather', [b.parameter(`${prefix}r_mag`, [dSae]), latents], { axis: 0 })])
  return b.build([rows, b.named('columns', b.op('Mul', [columns, reshape(b, factors, [-1, 1])]))])
}

interface Seeding {
  readonly stopAt: readonly string[]
  /** What a layer's heads mix, where it is seeded. */
  readonly heads: (layer: number) => string | undefined
}

/** With the sum of everything that is seeded as a value, and what is frozen. */
function withSeeds(graph: Graph, { config, scoring, sites, freeze }: GraphSetting, { heads }: Seeding) {
  const editor = new GraphEditor(graph)
  const at = graph.nodes.length
  const b = editor.builderAt(at, 'seeded/')
  const length = nPositions(config)
  const product = (value: string, seed: string, nAxes: number) => {
    const axes = Array.from({ length: nAxes }, (_, axis) => axis + 1)
    return b.op('ReduceSum', [b.op('Mul', [value, seed]), b.constant(int64([nAxes], axes))], { keepdims: 0 })
  }
  const parts = sites.map(({ index, sae }) => {
    return product(siteNames(index).saeIn, b.input(seedInputs.sae(index), 'float32', ['batch', length, sae.dIn]), 2)
  })
  for (let layer = 0; layer < config.nLayers; layer++) {
    const z = heads(layer)
    if (z === undefined) continue
    parts.push(product(z, b.input(seedInputs.heads(layer), 'float32', ['batch', length, config.nHeads, config.dHead]), 3))
  }
  const output = 'hook_post_head_pre_normalize'
  const along = scaleBy(b, product(output, b.input(seedInputs.direction, 'float32', ['batch', config.head.dOut]), 1), scoring.scale)
  const stopAt: string[] = []
  if (scoring.normalized || config.normalizeOutput) {
    const norm = reshape(b, b.op('Sqrt', [sumOver(b, b.op('Mul', [output, output]), -1)]), [-1])
    const kept = b.named('seeded/length', norm)
    if (freeze.norms) stopAt.push(kept)
    parts.push(b.op('Div', [along, kept]))
  } else parts.push(along)
  const sum = parts.reduce((total, part) => b.op('Add', [total, part]))
  b.named(SEEDED, parts.length === 1 ? b.op('Identity', [sum]) : sum)
  editor.insert(at, b.nodes(), b.declarations())
  const ready = frozen({ ...editor.graph(), outputs: [SEEDED] }, freeze)
  return { graph: ready.graph, stopAt: [...stopAt, ...ready.stopAt] }
}

/** What is added in the model and in encoders, after the tokens have been embedded. */
function isBias(parameter: string): boolean {
  if (parameter.startsWith('embed.')) return false
  return /\.(b_[QKVOH]|b_in|b_out|b)$/.test(parameter) || /^saes\[\d+\]\.(b_enc|b_dec|b_mag)$/.test(parameter)
}

function siteTotals(b: GraphBuilder, site: Site, { k, length }: { k: number; length: number }): string[] {
  const { index, sae, hookPoint } = site
  const names = siteNames(index)
  const outputs = totalOutputs.features(index)
  const gradient = gradientName(hookPoint)
  const decoder = b.parameter(`${saePrefix(index)}W_dec`, [sae.dSae, sae.dOut])
  const flat = (value: string) => reshape(b, value, [-1, length * sae.dSae])
  const ofFeatures = b.op('Gemm', [reshape(b, gradient, [-1, sae.dOut]), decoder], { transB: 1 }) // [batch * pos, dSae]
  const values = flat(b.op('Mul', [ofFeatures, reshape(b, names.coefficients, [-1, sae.dSae])]))
  const sizes = b.op('Abs', [values])
  const [, places] = b.opMany('TopK', [sizes, b.constant(int64([1], [k]))], { nOutputs: 2, attributes: { axis: -1 } })
  const chosen = (value: string) => b.op('GatherElements', [value, places!], { axis: 1 })
  const total = (value: string) => b.op('ReduceSum', [value, b.constant(int64([1], [1]))], { keepdims: 0 })
  const error = b.op('Mul', [names.error, gradient])
  const constant = b.op('Mul', [b.op('Sub', [names.rest, names.error]), gradient])
  return [
    b.named(outputs.values, chosen(values)),
    b.named(outputs.places, places!),
    b.named(outputs.activations, chosen(flat(names.acts))),
    b.named(outputs.coefficients, chosen(flat(names.coefficients))),
    b.named(outputs.sum, total(values)),
    b.named(outputs.size, total(sizes)),
    b.named(totalOutputs.errors(index), sumOfLast(b, error)),
    b.named(totalOutputs.constants(index), b.op('ReduceSum', [constant, b.constant(int64([2], [1, 2]))], { keepdims: 0 })),
  ]
}

const times = (b: GraphBuilder, value: string) => b.op('Mul', [value, gradientName(value)])

function sumOfLast(b: GraphBuilder, value: string): string {
  return b.op('ReduceSum', [value, b.constant(int64([1], [-1]))], { keepdims: 0 })
}

/** A graph with more nodes at its end; `make` returns the names of its outputs. */
function appended(graph: Graph, make: (b: GraphBuilder) => readonly string[]): Graph {
  const editor = new GraphEditor(graph)
  const at = graph.nodes.length
  const b = editor.builderAt(at, 'totals/')
  const outputs = make(b)
  editor.insert(at, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs })
}

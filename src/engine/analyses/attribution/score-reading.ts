/**
 * How a score reads the last residual stream. With the scale of the final LayerNorm and the length of the embedding frozen at what they are in
 * the run, a score is linear in it: what each token has along a direction, times a weight of the token, summed, and what biases add. Directions
 * are the targets', brought back through head and norm, the same for every image; what an image decides are the weights.
 */

import type { GraphBuilder } from '../../graph/builder.js'
import { meanOver, reshape, scaleBy, slice, sumOver, transpose } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { nPositions, nPrefixTokens } from '../../hook-points.js'
import type { VisionConfig } from '../../models/model.js'
import { int64, scalar } from '../../tensor.js'
import { directionsInput, type Scoring } from '../targets.js'

/** Rows of the `pos` axis, the last one excluded. */
export interface Rows {
  readonly start: number
  readonly end: number
}

/** One way in which tokens are read; a head over CLS and the mean of the patches has two. */
export interface Reader {
  readonly rows: Rows
  /** `[batch, rows, 1]`: what the pooling, the norm's scale and the embedding's length make of each token. */
  readonly weights: string
  /** `[nTargets, dModel]` */
  readonly directions: string
}

/** What a score takes from a bias that no token carries: `[batch, nTargets]`. */
export interface ConstantPart {
  readonly name: string
  readonly value: string
}

export interface ScoreReading {
  readonly readers: readonly Reader[]
  readonly constants: readonly ConstantPart[]
}

interface Setting {
  readonly graph: Graph
  readonly config: VisionConfig
  readonly scoring: Scoring
  /** `[batch, nTargets]`; only its shape is read. */
  readonly score: string
}

/** Of a model that pools its tokens. */
export function readScore(b: GraphBuilder, { graph, config, scoring, score }: Setting): ScoreReading {
  const has = (parameter: string) => Object.hasOwn(graph.parameters, parameter)
  const perImage = perImageWeight(b, { config, scoring, score })
  const ofOutput = scaleBy(b, b.input(directionsInput, 'float32', ['nTargets', config.head.dOut]), scoring.scale)
  const pooledLength = (config.pooling === 'clsAndMean' ? 2 : 1) * config.dModel
  const head = () => b.parameter('head.W_H', [config.head.dOut, pooledLength])
  const ofPooled = config.head.kind === 'none' ? ofOutput : b.op('MatMul', [ofOutput, head()])

  const isNormed = config.finalNorm !== 'none' && config.normalization !== 'none'
  const constants: ConstantPart[] = []
  const constantOf = (name: string, directions: string) => {
    if (has(name)) constants.push({ name, value: constant(b, { bias: name, directions, weight: perImage }) })
  }
  const readers = pooledRows(config).map((rows, index): Reader => {
    const at = { axis: 1, start: index * config.dModel, end: (index + 1) * config.dModel }
    const directions = config.pooling === 'clsAndMean' ? slice(b, ofPooled, at) : ofPooled
    constantOf('ln_final.b', directions)
    return {
      rows,
      weights: rowWeights(b, { rows, perImage, config, isNormed }),
      directions: isNormed ? throughNorm(b, directions, has('ln_final.w') ? 'ln_final.w' : undefined, config.dModel) : directions,
    }
  })
  constantOf('head.b_H', ofOutput)
  return { readers, constants: merged(b, constants) }
}

/** Of a model's parts, those that `readScore` makes constants of. */
export function listConstants(graph: Graph): string[] {
  return ['ln_final.b', 'head.b_H'].filter((name) => Object.hasOwn(graph.parameters, name))
}

/** Directions of a LayerNorm's output as directions of its input, but for the scale. */
export function throughNorm(b: GraphBuilder, directions: string, gain: string | undefined, length: number): string {
  const scaled = gain === undefined ? directions : b.op('Mul', [directions, b.parameter(gain, [length])])
  return b.op('Sub', [scaled, meanOver(b, scaled, -1)])
}

/** What a bias adds along directions `[nTargets, n]`, times a weight that broadcasts to `[batch, nTargets]`. */
function constant(
  b: GraphBuilder,
  { bias, directions, weight }: { readonly bias: string; readonly directions: string; readonly weight: string },
): string {
  const products = b.op('MatMul', [reshape(b, bias, [1, -1]), transpose(b, directions, [1, 0])])
  return b.op('Mul', [products, weight])
}

/** One over the embedding's length where a score is a cosine, else 1: `[batch, 1]`. */
function perImageWeight(b: GraphBuilder, { config, scoring, score }: Omit<Setting, 'graph'>): string {
  const one = b.constant(scalar(1))
  if (!scoring.normalized && !config.normalizeOutput) {
    const anyCondition = b.op('IsNaN', [slice(b, score, { axis: 1, start: 0, end: 1 })])
    return b.op('Where', [anyCondition, one, one])
  }
  const embedding = 'hook_post_head_pre_normalize'
  return b.op('Div', [one, b.op('Sqrt', [sumOver(b, b.op('Mul', [embedding, embedding]), -1)])])
}

/** The rows that are averaged; of CLS and mean side by side, those of each. */
function pooledRows(config: VisionConfig): Rows[] {
  const cls = { start: 0, end: 1 }
  const patches = { start: nPrefixTokens(config), end: nPositions(config) }
  switch (config.pooling) {
    case 'cls':
      return [cls]
    case 'mean':
      return [patches]
    case 'meanAll':
      return [{ start: 0, end: nPositions(config) }]
    case 'clsAndMean':
      return [cls, patches]
    default:
      throw new Error(`Invariant violated: a model that pools by "${config.pooling}" has no one score`)
  }
}

function rowWeights(
  b: GraphBuilder,
  { rows, perImage, config, isNormed }: { rows: Rows; perImage: string; config: VisionConfig; isNormed: boolean },
): string {
  const count = rows.end - rows.start
  // a division, as the mean is: 1 / count is no float
  const mean = b.op('Div', [reshape(b, perImage, [-1, 1, 1]), b.constant(scalar(count))])
  if (!isNormed) return b.op('Expand', [mean, b.constant(int64([3], [1, count, 1]))])
  const scale =
    config.finalNorm === 'tokens' ? slice(b, 'ln_final.hook_scale', { axis: 1, ...rows }) : reshape(b, 'ln_final.hook_scale', [-1, 1, 1])
  const weights = b.op('Div', [mean, scale])
  return config.finalNorm === 'tokens' ? weights : b.op('Expand', [weights, b.constant(int64([3], [1, count, 1]))])
}

/** Those of one name added up. */
function merged(b: GraphBuilder, parts: readonly ConstantPart[]): ConstantPart[] {
  const names = [...new Set(parts.map(({ name }) => name))]
  return names.map((name) => {
    const values = parts.filter((part) => part.name === name).map(({ value }) => value)
    return { name, value: values.reduce((sum, value) => b.op('Add', [sum, value])) }
  })
}

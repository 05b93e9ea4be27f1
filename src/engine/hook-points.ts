/**
 * The closed vocabulary of hook points: one table, in firing order, with the names of ViT-Prisma and TransformerLens. Builders, requests
 * and the documentation are all held to it.
 *
 * `N` in a name stands for the block's index. An optional hook point costs extra work or changes the shapes of others, so it is built
 * only when it is read or edited.
 */

import { EngineError, type Problem } from './errors.js'
import type { Axis } from './graph/graph.js'
import type { HookPointInfo, TextConfig, VisionConfig } from './models/model.js'

export type TowerConfig = VisionConfig | TextConfig

interface Row {
  readonly name: string
  readonly axes: readonly Axis[] | ((tower: Tower) => readonly Axis[])
  readonly meaning: string
  /** In words, for the documentation; `always` when absent. */
  readonly exists?: { readonly when: (config: TowerConfig) => boolean; readonly words: string }
  readonly optional?: true
}

/** A tower as the table sees it: its configuration, and whether a block's attention input is kept apart for each head. */
interface Tower {
  readonly config: TowerConfig
  readonly perHeadInput: boolean
}

export function isVision(config: TowerConfig): config is VisionConfig {
  return 'patchSize' in config
}

/** Rows and columns of patches. What does not fill a whole patch is left out, as a convolution leaves it out. */
export function patchGrid({ imageSize, patchSize }: VisionConfig): { rows: number; columns: number } {
  return { rows: Math.floor(imageSize.height / patchSize.height), columns: Math.floor(imageSize.width / patchSize.width) }
}

export function nPatches(config: VisionConfig): number {
  const { rows, columns } = patchGrid(config)
  return rows * columns
}

/** Rows before the first patch: CLS, then registers. */
export function nPrefixTokens(config: VisionConfig): number {
  return (config.hasCls ? 1 : 0) + config.nRegisters
}

/** Length of the `pos` axis. */
export function nPositions(config: TowerConfig): number {
  return isVision(config) ? nPrefixTokens(config) + nPatches(config) : config.contextLength
}

const normalised = {
  when: (config: TowerConfig) => config.normalization !== 'none',
  words: 'the model has LayerNorms',
}
const withMlp = { when: (config: TowerConfig) => config.dMlp !== undefined, words: 'the block has an MLP' }
const normalisedMlp = {
  when: (config: TowerConfig) => normalised.when(config) && withMlp.when(config),
  words: 'the block has an MLP and LayerNorms',
}
const hasLnPre = (config: TowerConfig) => isVision(config) && config.lnPre
const hasFinalNorm = (config: TowerConfig) => normalised.when(config) && !(isVision(config) && config.finalNorm === 'none')
const isSoluLn = (config: TowerConfig) => withMlp.when(config) && config.activation === 'solu_ln'
const preNorm = {
  when: (config: TowerConfig) => hasLnPre(config) && normalised.when(config),
  words: 'a LayerNorm precedes the blocks (CLIP)',
}
const finalNorm = { when: hasFinalNorm, words: 'the model has a final LayerNorm' }
const soluLn = { when: isSoluLn, words: 'the activation is `solu_ln`' }

const resid: readonly Axis[] = ['batch', 'pos', 'dModel']
const perHead: readonly Axis[] = ['batch', 'pos', 'head', 'dModel']
const scale: readonly Axis[] = ['batch', 'pos', 'scale']
const heads: readonly Axis[] = ['batch', 'pos', 'head', 'dHead']
const pattern: readonly Axis[] = ['batch', 'head', 'qPos', 'kPos']
const mlp: readonly Axis[] = ['batch', 'pos', 'dMlp']

const attentionInput = (tower: Tower) => (tower.perHeadInput ? perHead : resid)
const attentionInputScale = (tower: Tower): readonly Axis[] => (tower.perHeadInput ? ['batch', 'pos', 'head', 'scale'] : scale)

/** The tokens that reach the head: one row for each input when pooled. */
function pooledAxes(config: TowerConfig, last: Axis): readonly Axis[] {
  if (!isVision(config)) return ['batch', last]
  if (config.pooling === 'none') return ['batch', 'pos', last]
  return config.pooling === 'patches' ? ['batch', 'patch', last] : ['batch', last]
}

const finalNormAxes =
  (last: Axis) =>
  ({ config }: Tower): readonly Axis[] =>
    isVision(config) && config.finalNorm === 'pooled' ? pooledAxes(config, last) : ['batch', 'pos', last]

const outputAxis = { classes: 'nClasses', projection: 'dEmbed', none: 'dModel' } as const

/** Axes of a tower's output, and of `hook_post_head_pre_normalize`. */
export function outputAxes(config: TowerConfig): readonly Axis[] {
  return pooledAxes(config, outputAxis[config.head.kind])
}

const embedding: readonly Row[] = [
  {
    name: 'hook_embed',
    axes: ({ config }) => (isVision(config) ? ['batch', 'patch', 'dModel'] : resid),
    meaning: 'patch embeddings, before CLS and registers are put in front; in a text tower, token embeddings',
  },
  {
    name: 'hook_pos_embed',
    axes: resid,
    meaning: 'position embeddings, repeated over the batch; zero for tokens to which the model gives no position',
  },
  { name: 'hook_full_embed', axes: resid, meaning: 'every token (CLS, registers, patches) plus its position' },
  { name: 'ln_pre.hook_scale', axes: scale, exists: preNorm, meaning: 'sqrt(variance + eps) of the LayerNorm before the first block' },
  { name: 'ln_pre.hook_normalized', axes: resid, exists: preNorm, meaning: 'output of that LayerNorm, weights applied' },
  {
    name: 'hook_ln_pre',
    axes: resid,
    exists: { when: hasLnPre, words: preNorm.words },
    meaning: 'what enters the first block, after `ln_pre`',
  },
]

const block: readonly Row[] = [
  { name: 'blocks.N.hook_resid_pre', axes: resid, meaning: 'residual stream that enters the block' },
  { name: 'blocks.N.hook_attn_in', axes: perHead, optional: true, meaning: 'residual stream that feeds attention, one copy a head' },
  { name: 'blocks.N.hook_q_input', axes: perHead, optional: true, meaning: 'residual stream that feeds the queries, one copy a head' },
  { name: 'blocks.N.hook_k_input', axes: perHead, optional: true, meaning: 'residual stream that feeds the keys, one copy a head' },
  { name: 'blocks.N.hook_v_input', axes: perHead, optional: true, meaning: 'residual stream that feeds the values, one copy a head' },
  { name: 'blocks.N.ln1.hook_scale', axes: attentionInputScale, exists: normalised, meaning: 'sqrt(variance + eps) of LayerNorm 1' },
  { name: 'blocks.N.ln1.hook_normalized', axes: attentionInput, exists: normalised, meaning: 'output of LayerNorm 1, weights applied' },
  { name: 'blocks.N.attn.hook_q', axes: heads, meaning: 'queries, bias included' },
  { name: 'blocks.N.attn.hook_k', axes: heads, meaning: 'keys, bias included' },
  { name: 'blocks.N.attn.hook_v', axes: heads, meaning: 'values, bias included' },
  {
    name: 'blocks.N.attn.hook_attn_scores',
    axes: pattern,
    meaning: 'query-key products over sqrt(dHead); minus infinity where a causal model may not look',
  },
  { name: 'blocks.N.attn.hook_pattern', axes: pattern, meaning: 'attention probabilities: each row sums to 1 over kPos' },
  { name: 'blocks.N.attn.hook_z', axes: heads, meaning: 'values mixed by the pattern' },
  { name: 'blocks.N.attn.hook_result', axes: perHead, optional: true, meaning: 'what each head writes, output bias not included' },
  {
    name: 'blocks.N.hook_attn_out',
    axes: resid,
    meaning: 'what attention adds to the residual stream: all heads, output bias and layer scale included',
  },
  { name: 'blocks.N.hook_resid_mid', axes: resid, exists: withMlp, meaning: 'residual stream between attention and MLP' },
  {
    name: 'blocks.N.hook_mlp_in',
    axes: resid,
    exists: withMlp,
    optional: true,
    meaning: 'copy of `hook_resid_mid` that feeds only the MLP',
  },
  { name: 'blocks.N.ln2.hook_scale', axes: scale, exists: normalisedMlp, meaning: 'sqrt(variance + eps) of LayerNorm 2' },
  { name: 'blocks.N.ln2.hook_normalized', axes: resid, exists: normalisedMlp, meaning: 'output of LayerNorm 2, weights applied' },
  { name: 'blocks.N.mlp.hook_pre', axes: mlp, exists: withMlp, meaning: 'MLP neurons before the activation function' },
  { name: 'blocks.N.mlp.hook_mid', axes: mlp, exists: soluLn, meaning: 'MLP neurons after SoLU, before its LayerNorm' },
  { name: 'blocks.N.mlp.ln.hook_scale', axes: scale, exists: soluLn, meaning: "sqrt(variance + eps) of SoLU's LayerNorm" },
  { name: 'blocks.N.mlp.ln.hook_normalized', axes: mlp, exists: soluLn, meaning: "output of SoLU's LayerNorm" },
  { name: 'blocks.N.mlp.hook_post', axes: mlp, exists: withMlp, meaning: 'MLP neurons after the activation function' },
  {
    name: 'blocks.N.hook_mlp_out',
    axes: resid,
    exists: withMlp,
    meaning: 'what the MLP adds to the residual stream: output bias and layer scale included',
  },
  { name: 'blocks.N.hook_resid_post', axes: resid, meaning: 'residual stream that leaves the block' },
]

const end: readonly Row[] = [
  { name: 'ln_final.hook_scale', axes: finalNormAxes('scale'), exists: finalNorm, meaning: 'sqrt(variance + eps) of the final LayerNorm' },
  {
    name: 'ln_final.hook_normalized',
    axes: finalNormAxes('dModel'),
    exists: finalNorm,
    meaning: 'output of the final LayerNorm, weights applied',
  },
  {
    name: 'hook_ln_final',
    axes: finalNormAxes('dModel'),
    meaning: 'what is pooled (or, where the norm follows pooling, what enters the head), after `ln_final`',
  },
  {
    name: 'hook_post_head_pre_normalize',
    axes: ({ config }) => outputAxes(config),
    meaning: 'the output before it is normalised to length 1: logits, embedding or pooled features',
  },
]

/** The table, for documentation and tests. */
export const hookPointTable: readonly Row[] = [...embedding, ...block, ...end]

const splitInputs = new Set(['hook_attn_in', 'hook_q_input', 'hook_k_input', 'hook_v_input'])

/** True when an optional hook point of this block keeps attention's input apart for each head. */
export function hasPerHeadInput(blockIndex: number, wanted: ReadonlySet<string>): boolean {
  return [...splitInputs].some((name) => wanted.has(`blocks.${blockIndex}.${name}`))
}

/** Length of each axis; the batch axis is the string `batch`. */
function axisLength(axis: Axis, config: TowerConfig): number | string {
  switch (axis) {
    case 'batch':
      return 'batch'
    case 'pos':
    case 'qPos':
    case 'kPos':
      return nPositions(config)
    case 'patch':
      return isVision(config) ? nPatches(config) : 0
    case 'head':
      return config.nHeads
    case 'dModel':
      return config.dModel
    case 'dHead':
      return config.dHead
    case 'dMlp':
      return config.dMlp ?? 0
    case 'nClasses':
    case 'dEmbed':
      return config.head.dOut
    case 'scale':
      return 1
    case 'layer':
    case 'dSae':
      throw new Error(`Invariant violated: no hook point of a model has the axis ${axis}`)
    default:
      return axis satisfies never
  }
}

export function shapeOfAxes(axes: readonly Axis[], config: TowerConfig): (number | string)[] {
  return axes.map((axis) => axisLength(axis, config))
}

/**
 * Every hook point of a tower, in firing order, the optional ones included. `wanted` holds the optional hook points that a graph is
 * built with: with a split attention input, LayerNorm 1 has a head axis.
 */
export function hookPointsOf(config: TowerConfig, wanted: ReadonlySet<string> = new Set()): HookPointInfo[] {
  const info = (row: Row, index?: number): HookPointInfo => {
    const tower = { config, perHeadInput: index !== undefined && hasPerHeadInput(index, wanted) }
    const axes = typeof row.axes === 'function' ? row.axes(tower) : row.axes
    const name = index === undefined ? row.name : row.name.replace('.N.', `.${index}.`)
    return { name, axes, shape: shapeOfAxes(axes, config), meaning: row.meaning, optional: row.optional ?? false }
  }
  const present = (row: Row) => row.exists?.when(config) ?? true
  const blocks = Array.from({ length: config.nLayers }, (_, index) => block.filter(present).map((row) => info(row, index)))
  return [...embedding.filter(present).map((row) => info(row)), ...blocks.flat(), ...end.filter(present).map((row) => info(row))]
}

/**
 * The names that patterns select, each once, in firing order. `*` stands for any characters within one dot-separated part. A pattern with
 * `*` in its last part selects optional hook points only when it selects nothing else: they are asked for by name.
 *
 * @param about  `model` is named in the message; `path` is where the patterns stand in the request (`read` by default)
 * @throws HOOK_POINT_UNKNOWN naming every pattern that selects nothing, with the nearest real names
 */
export function matchHookPoints(
  patterns: readonly string[],
  infos: readonly HookPointInfo[],
  about: { readonly model: string; readonly path?: string },
): string[] {
  const selected = new Set<string>()
  const errors: EngineError<'HOOK_POINT_UNKNOWN'>[] = []
  const problems: Problem[] = []
  patterns.forEach((pattern, index) => {
    const matches = infos.filter(({ name }) => matchesPattern(pattern, name))
    const plain = matches.filter(({ optional }) => !optional)
    const byName = !lastPart(pattern).includes('*')
    for (const { name } of byName || plain.length === 0 ? matches : plain) selected.add(name)
    if (matches.length > 0) return
    const error = new EngineError('HOOK_POINT_UNKNOWN', { hookPoint: pattern, model: about.model, known: namesLike(pattern, infos) })
    errors.push(error)
    problems.push({ path: `${about.path ?? 'read'}[${index}]`, message: error.message })
  })
  if (errors.length > 0) throw new EngineError('HOOK_POINT_UNKNOWN', errors[0]!.details, problems)
  return infos.filter(({ name }) => selected.has(name)).map(({ name }) => name)
}

const lastPart = (pattern: string) => pattern.slice(pattern.lastIndexOf('.') + 1)

function matchesPattern(pattern: string, name: string): boolean {
  if (!pattern.includes('*')) return pattern === name
  const patternParts = pattern.split('.')
  const nameParts = name.split('.')
  return patternParts.length === nameParts.length && patternParts.every((part, index) => matchesPart(part, nameParts[index]!))
}

/** Greedy with one fallback point, so linear for one `*` and quadratic at worst: a pattern comes from a stranger. */
function matchesPart(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      resume = t
    } else if (pattern[p] === text[t]) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++resume
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

/** Known names in the form of the pattern: where it has a bare `*`, so have they. */
function namesLike(pattern: string, infos: readonly HookPointInfo[]): string[] {
  const stars = pattern.split('.').map((part) => part === '*')
  const names = infos.map(({ name }) =>
    name
      .split('.')
      .map((part, index) => (stars[index] ? '*' : part))
      .join('.'),
  )
  return [...new Set(names)]
}

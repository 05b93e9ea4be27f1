/**
 * Direct logit attribution: what each part of the model writes straight to a score. The residual stream is the sum of what embedding, heads,
 * MLPs and biases write, and a score reads it linearly once the scale of the final norm (and the length of CLIP's embedding) is frozen at the
 * run's own: so the parts sum to the score.
 * @see Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits"; nostalgebraist (2020); for CLIP: Gandelsman et al. (2024)
 */

import { EngineError } from '../../errors.js'
import { nPositions } from '../../hook-points.js'
import type { VisionConfig } from '../../models/model.js'
import type { SaeConfig } from '../../saes/sae.js'
import { elementCount, float32, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { poolsTokens } from '../lens/read-out.js'
import { inChunks, MOST_ROWS, type Outputs, rowsOf } from '../shared-prefix.js'
import { directionsInput, directionsOf, scoringOf, type Target } from '../targets.js'
import { firstOf, topCount } from '../top-counts.js'
import type { Workbench } from '../workbench.js'
import { type AttributionStructure, attributionGraph, partNames } from './attribution-graph.js'
import type { PartName } from './score-parts.js'

export type { PartName } from './score-parts.js'

/** What parts are taken apart into, beside the components themselves; `features` are of the SAEs of the workbench. */
export interface Finer {
  readonly heads?: boolean
  /** Each head by the token that it reads from. */
  readonly sources?: boolean
  /** Each component by the token that it writes to. */
  readonly tokens?: boolean
  readonly neurons?: boolean
  readonly features?: boolean
}

export interface DirectAttributionInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  readonly targets: readonly Target[]
  readonly by: Finer
  /** Neurons of a layer, and features of an SAE; fewer where there are not as many. */
  readonly topK: number
  /** Of one image: `numbersOfImage`, so that `cost` knows. */
  readonly numbers: number
}

export interface LargestParts {
  /** `[batch, target, ..., k]`, by size, the largest first. */
  readonly values: Tensor<'float32'>
  readonly indices: Tensor<'float32'>
  /** Mean activation over the tokens that the score reads. */
  readonly activations: Tensor<'float32'>
}

export interface SaeParts extends LargestParts {
  /** All features together; the decoder's bias and what comes with it; the error; each `[batch, target]`. Their sum is the hook point's part. */
  readonly features: Tensor<'float32'>
  readonly bias: Tensor<'float32'>
  readonly error: Tensor<'float32'>
}

export interface DirectAttribution {
  /** As the model scores, `[batch, target]`. */
  readonly score: Tensor<'float32'>
  /** In the order of `components`. */
  readonly parts: readonly PartName[]
  /** `[batch, target, part]` */
  readonly components: Tensor<'float32'>
  /** Score minus the sum of the components: rounding. */
  readonly remainder: Tensor<'float32'>
  /** `[batch, target, layer, head]` */
  readonly heads?: Tensor<'float32'>
  /** `[batch, target, layer, head, pos]` */
  readonly sources?: Tensor<'float32'>
  /** `[batch, target, part, pos]`, of the parts that tokens carry: all but the last `parts.length - part` ones. */
  readonly tokens?: Tensor<'float32'>
  /** `[batch, target, layer, k]` */
  readonly neurons?: LargestParts
  /** In the order of the SAEs. */
  readonly features?: readonly SaeParts[]
}

/** Numbers that runs hold at once beside the model's own. */
const NUMBERS_PER_RUN = 2 ** 25
const MOST_ROWS_WITH_SAES = 8
/** What each block writes and what heads write it of, until it is read. */
const KEPT = 6

export const directLogitAttribution: Analysis<DirectAttributionInput, DirectAttribution> = {
  cost({ pixels, ...input }) {
    const batch = pixels.shape[0]!
    const { numbers } = input
    const rows = Math.min(batch, rowsPerRun(input))
    return { rows, kept: KEPT * rows, bytes: 4 * numbers * (2 * rows + batch) }
  },

  async run(bench, input) {
    const { config, description } = bench.model
    requirePooled(bench)
    const structure = structureOf(input, bench)
    const scoring = scoringOf(description)
    const built = () =>
      attributionGraph(bench.model.build(new Set()), { config, scoring, structure, saes: bench.saes.map((sae) => sae.config) })
    const program = await bench.ready(`directLogitAttribution ${JSON.stringify(structure)}`, built)
    const directions = { [directionsInput]: directionsOf(input.targets) }
    const batch = input.pixels.shape[0]!
    const values = await inChunks(
      batch,
      (from, to) => program.run({ ...rowsOf({ pixels: input.pixels }, from, to), ...directions }),
      rowsPerRun(input),
    )
    return arranged(values, { structure, topK: input.topK, parts: partNames(bench.model.build(new Set()).graph, config) })
  },
}

/** Wide codes take the memory of many images. */
function rowsPerRun({ numbers, by }: Pick<DirectAttributionInput, 'numbers' | 'by'>): number {
  return Math.max(1, Math.min(by.features ? MOST_ROWS_WITH_SAES : MOST_ROWS, Math.floor(NUMBERS_PER_RUN / numbers)))
}

/** What is computed for one image beside its run, at most. */
export function numbersOfImage(
  config: VisionConfig,
  { nTargets, by, saes }: { readonly nTargets: number; readonly by: Finer; readonly saes: readonly SaeConfig[] },
): number {
  const length = nPositions(config)
  const nParts = 4 * config.nLayers + 8
  const ofHeads = config.nLayers * config.nHeads * (by.sources ? length : 1)
  const ofTokens = nParts * (by.tokens ? length : 1)
  const neurons = by.neurons ? config.nLayers * (config.dMlp ?? 0) : 0
  const read = config.pooling === 'cls' ? 1 : length
  const features = by.features ? saes.reduce((sum, { dSae }) => sum + dSae * (2 * read + 3 * nTargets), 0) : 0
  return nTargets * (2 * ofTokens + 2 * ofHeads + 2 * neurons) + features
}

/** @throws INPUT_INVALID */
function requirePooled({ model: { config, key } }: Workbench): void {
  if (poolsTokens(config)) return
  const problem = `${key} does not pool: its answer has a row for each position, and no one score that parts could sum to`
  throw new EngineError('INPUT_INVALID', { path: 'model', problem })
}

function structureOf({ by, topK }: DirectAttributionInput, { model: { config }, saes }: Workbench): AttributionStructure {
  return {
    heads: by.heads ?? false,
    sources: by.sources ?? false,
    tokens: by.tokens ?? false,
    neurons: by.neurons && config.dMlp !== undefined ? topCount(topK, config.dMlp) : 0,
    features: by.features ? saes.map((sae) => topCount(topK, sae.config.dSae)) : [],
  }
}

function arranged(
  values: Outputs,
  { structure, topK, parts }: { structure: AttributionStructure; topK: number; parts: readonly PartName[] },
): DirectAttribution {
  const largest = (prefix: string): LargestParts => ({
    values: firstOf(values[`${prefix}.values`]!, topK),
    indices: firstOf(values[`${prefix}.indices`]!, topK),
    activations: firstOf(values[`${prefix}.activations`]!, topK),
  })
  const one = (name: string) => ({ [name]: values[name]! })
  const saes = Array.from({ length: structure.features.length }, (_, index): SaeParts => {
    const prefix = `features[${index}]`
    const [features, bias, error] = ['features', 'bias', 'error'].map((name) => values[`${prefix}.${name}`]!) as [
      Tensor<'float32'>,
      Tensor<'float32'>,
      Tensor<'float32'>,
    ]
    return { ...largest(prefix), features, bias, error }
  })
  return {
    score: values.score!,
    parts,
    components: values.components!,
    remainder: remainderOf(values.score!, values.components!),
    ...(structure.heads && one('heads')),
    ...(structure.sources && one('sources')),
    ...(structure.tokens && one('tokens')),
    ...(structure.neurons > 0 && { neurons: largest('neurons') }),
    ...(structure.features.length > 0 && { features: saes }),
  }
}

function remainderOf(score: Tensor<'float32'>, components: Tensor<'float32'>): Tensor<'float32'> {
  const nParts = components.shape.at(-1)!
  const data = Array.from({ length: elementCount(score.shape) }, (_, at) => {
    return score.data[at]! - components.data.subarray(at * nParts, (at + 1) * nParts).reduce((sum, part) => sum + part, 0)
  })
  return float32(score.shape, data)
}

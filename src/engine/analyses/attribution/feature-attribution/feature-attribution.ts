/**
 * Feature attribution: what a score, or a feature at a position, depends on. Hook points with SAEs are taken apart into features, what the SAEs leave
 * out, and constants; a node's attribution is the gradient of the score times what is there, and an edge's that of the later node times what the earlier
 * one writes, past all nodes in between. Gradients go back through features alone: errors are nodes at which nothing goes further back.
 * @see Marks et al. (2024), "Sparse Feature Circuits"; Ameisen et al. (2025), "Circuit Tracing"; Dunefsky et al. (2024), "Transcoders Find Interpretable
 *   LLM Feature Circuits"
 */

import { EngineError } from '../../../errors.js'
import { nPositions } from '../../../hook-points.js'
import type { VisionConfig } from '../../../models/model.js'
import type { SaeConfig } from '../../../saes/sae.js'
import type { Tensor } from '../../../tensor.js'
import type { Analysis } from '../../analysis.js'
import { poolsTokens } from '../../lens/read-out.js'
import type { Outputs } from '../../shared-prefix.js'
import { scoringOf, type Target } from '../../targets.js'
import { topCount } from '../../top-counts.js'
import type { Workbench } from '../../workbench.js'
import {
  type AttributionEdge,
  type AttributionNode,
  directEdges,
  type Inputs,
  keyOf,
  latentVectors,
  type Prepared,
  ROWS_PER_RUN,
} from './direct-edges.js'
import { type Sink, seedsOf } from './edges.js'
import type { Freeze } from './frozen.js'
import { type GraphSetting, SEEDED, TOKENS, totalGraph, totalOutputs, zOf } from './graphs.js'
import { type Candidate, candidates, largest, type Threshold } from './nodes.js'
import { type Site, sitesOf } from './sites.js'

export type { AttributionNode } from './direct-edges.js'

export interface FeatureTarget {
  /** Among the SAEs of the workbench. */
  readonly sae: number
  readonly index: number
  readonly position: number
}

export interface FeatureAttributionInput {
  /** `[1, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  readonly target: Target | FeatureTarget
  readonly freeze: Freeze
  /** Whether heads are nodes; if not, attention is passed through. */
  readonly heads: boolean
  readonly nodes: Threshold
  readonly edges: Threshold
  /** Of the graphs: `numbersOfAttribution`, so that `cost` knows. */
  readonly numbers: number
}

export interface FeatureAttribution {
  /** What is attributed: a score; of a feature its pre-activation without the encoder's bias. */
  readonly value: number
  readonly target: Inputs
  readonly nodes: readonly AttributionNode[]
  readonly edges: readonly AttributionEdge[]
  /**
   * Where `value` comes from in the end. With patterns and norms frozen and no MLP in between the sum is exact, and `remainder` is rounding;
   * else it is what gradients do not say.
   */
  readonly sources: {
    readonly tokens: number
    readonly errors: number
    /** Of the model, of the encoders, and what decoders add without features. */
    readonly biases: number
    readonly remainder: number
  }
  /** Of each SAE: all features together, by sign and by size. */
  readonly features: readonly { readonly sum: number; readonly size: number }[]
  /** Of all attributions by size, what the kept nodes have. */
  readonly keptShare: number
}

/** Values of a block that gradients go back through, in widths of the residual stream. */
const VALUES_OF_BLOCK = 14

/** What is computed for one request beside the one run through all SAEs, at most: rows of gradients, their seeds, and what is read of them. */
export function numbersOfAttribution(
  config: VisionConfig,
  { saes, most, heads }: { readonly saes: readonly SaeConfig[]; readonly most: number; readonly heads: boolean },
): number {
  const { nLayers, dModel, nHeads, dMlp = 0 } = config
  const length = nPositions(config)
  const block = length * (VALUES_OF_BLOCK * dModel + 3 * dMlp) + 3 * nHeads * length ** 2
  const read = length * saes.reduce((sum, { dOut }) => sum + dOut, (heads ? nLayers + 1 : 1) * dModel)
  const seeds = length * saes.reduce((sum, { dIn }) => sum + dIn, heads ? nLayers * dModel : 0)
  return Math.min(ROWS_PER_RUN, most + 1) * (2 * nLayers * block + seeds + read) + (most + 1) * read
}

export const featureAttribution: Analysis<FeatureAttributionInput, FeatureAttribution> = {
  // SAEs are run through for the one image alone; the rows of gradients are among the numbers
  cost: ({ numbers }) => ({ rows: 1, gradients: true, bytes: 4 * numbers }),

  async run(bench, input) {
    const setting = settingOf(bench, input)
    const target = await targetSink(bench, input.target, setting.sites)
    const outputs = await runTotal(bench, input, { setting, target })
    const place = { dSae: setting.sites.map(({ sae }) => sae.dSae), nLayers: setting.heads ? setting.config.nLayers : 0 }
    const all = candidates(outputs, place).filter((node) => !isItself(node, input.target))
    const total = sizeOfAll(all, outputs, setting)
    const kept = largest(all, ({ attribution }) => attribution, { ...input.nodes, total })
    const nodes = kept.toSorted((a, b) => placeOf(a, bench, setting) - placeOf(b, bench, setting))
    const found = await directEdges(bench, { pixels: input.pixels, threshold: input.edges, setting, target, nodes, outputs })
    return {
      value: outputs[SEEDED]!.data[0]!,
      ...found,
      sources: sourcesOf(outputs, setting),
      features: setting.sites.map(({ index }) => {
        const names = totalOutputs.features(index)
        return { sum: outputs[names.sum]!.data[0]!, size: outputs[names.size]!.data[0]! }
      }),
      keptShare: total === 0 ? 0 : kept.reduce((sum, { attribution }) => sum + Math.abs(attribution), 0) / total,
    }
  },
}

function settingOf(bench: Workbench, { freeze, heads }: FeatureAttributionInput): GraphSetting {
  const { config, description, key } = bench.model
  if (!poolsTokens(config)) {
    const problem = `${key} does not pool: its answer has a row for each position, and no one score`
    throw new EngineError('INPUT_INVALID', { path: 'model', problem })
  }
  const sites = sitesOf(
    bench.saes.map((sae) => sae.config),
    description.vision.hookPoints,
  )
  return { config, scoring: scoringOf(description), sites, freeze, heads }
}

/** @throws INPUT_INVALID of a feature or a position that is not there */
async function targetSink(bench: Workbench, target: Target | FeatureTarget, sites: readonly Site[]): Promise<Sink> {
  if ('direction' in target) return { kind: 'score', direction: target.direction }
  const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path: `target.${path}`, problem })
  const site = sites[target.sae]
  if (!site) throw refuse('sae', `${target.sae} is not one of the SAEs, 0 to ${sites.length - 1}`)
  if (target.index >= site.sae.dSae)
    throw refuse('feature', `${target.index} is out of range; the SAE has features 0 to ${site.sae.dSae - 1}`)
  const length = nPositions(bench.model.config)
  if (target.position >= length) throw refuse('position', `${target.position} is out of range; positions are 0 to ${length - 1}`)
  const [latent] = await latentVectors(bench, site, [target.index])
  const node: Candidate = { kind: 'feature', ...target, attribution: 0 }
  return { kind: 'node', node, column: latent!.column }
}

/** A feature is no input of itself. */
function isItself({ kind, sae, index, position }: Candidate, target: Target | FeatureTarget): boolean {
  return 'sae' in target && kind === 'feature' && sae === target.sae && index === target.index && position === target.position
}

async function runTotal(bench: Workbench, { pixels, nodes }: FeatureAttributionInput, { setting, target }: Prepared): Promise<Outputs> {
  const k = setting.sites.map(({ sae }) => topCount(nodes.most, sae.dSae * nPositions(setting.config)))
  const program = await bench.ready(`featureAttribution total ${keyOf(setting)} ${k}`, () => {
    return totalGraph(bench.model.build(new Set()), { ...setting, k })
  })
  const seeds = seedsOf([target], { ...setting, heads: false, outputs: {} })
  return program.run({ pixels, ...seeds })
}

/** All attributions by size, those of features that are no candidates included. */
function sizeOfAll(all: readonly Candidate[], outputs: Outputs, { sites }: GraphSetting): number {
  const others = all.filter(({ kind }) => kind !== 'feature').reduce((sum, { attribution }) => sum + Math.abs(attribution), 0)
  return sites.reduce((sum, { index }) => sum + outputs[totalOutputs.features(index).size]!.data[0]!, others)
}

/** In the order in which the model computes them. */
function placeOf({ kind, sae, layer, position }: Candidate, bench: Workbench, { sites }: GraphSetting): number {
  const name = kind === 'token' ? TOKENS : kind === 'head' ? zOf(layer!) : sites[sae!]!.hookPoint
  const hookPoints = bench.model.description.vision.hookPoints
  return hookPoints.findIndex((each) => each.name === name) * 2 ** 20 + position
}

function sourcesOf(outputs: Outputs, { sites }: GraphSetting): FeatureAttribution['sources'] {
  const sum = (name: string) => outputs[name]?.data.reduce((total, value) => total + value, 0) ?? 0
  const tokens = sum(totalOutputs.tokens)
  const errors = sites.reduce((total, { index }) => total + sum(totalOutputs.errors(index)), 0)
  const biases = sites.reduce((total, { index }) => total + sum(totalOutputs.constants(index)), sum(totalOutputs.biases))
  return { tokens, errors, biases, remainder: outputs[SEEDED]!.data[0]! - tokens - errors - biases }
}

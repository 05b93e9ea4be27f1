/** The graph of direct logit attribution: a run of the model, and what its parts write to the scores of the targets. Only sums leave it. */

import { EngineError } from '../../errors.js'
import type { GraphBuilder } from '../../graph/builder.js'
import { slice, transpose } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import { GraphEditor } from '../../graph/graph-editor.js'
import { prune } from '../../graph/prune.js'
import { nPositions } from '../../hook-points.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { VisionConfig } from '../../models/model.js'
import { saePrefix, vectors } from '../../saes/attach-saes.js'
import type { SaeConfig } from '../../saes/sae.js'
import { int64 } from '../../tensor.js'
import { type Scoring, scores } from '../targets.js'
import { type FeatureSite, featureParts, headParts, neuronParts, sourceParts } from './finer-parts.js'
import {
  directionsAtNeurons,
  directionsAtZ,
  listParts,
  type PartName,
  type PartSetting,
  sumOfPart,
  type TokenPart,
  tokenParts,
  tokensOfPart,
} from './score-parts.js'
import { listConstants, readScore } from './score-reading.js'

export interface AttributionStructure {
  readonly heads: boolean
  readonly sources: boolean
  readonly tokens: boolean
  /** Of each layer; 0: none. */
  readonly neurons: number
  /** Of each SAE; empty: none. */
  readonly features: readonly number[]
}

interface Setting {
  readonly config: VisionConfig
  readonly scoring: Scoring
  readonly structure: AttributionStructure
  readonly saes: readonly SaeConfig[]
}

/** Outputs are named as in `AttributionStructure`, beside `score` and `components`. @throws INPUT_INVALID of an SAE that stands elsewhere */
export function attributionGraph({ graph, types }: BuiltTower, { config, scoring, structure, saes }: Setting): Graph {
  const editor = new GraphEditor(graph, types)
  const at = graph.nodes.length
  const b = editor.builderAt(at, 'attribution/')
  const score = b.named('score', scores(b, graph.outputs[0]!, { dOut: config.head.dOut, scoring }))
  const { readers, constants } = readScore(b, { graph, config, scoring, score })
  const setting: PartSetting = { graph, config, readers }
  const parts = tokenParts(b, setting)
  const outputs = [score]
  const answer = (name: string, value: string) => outputs.push(b.named(name, value))
  const layers = Array.from({ length: config.nLayers }, (_, layer) => layer)

  const components = [...parts.map((part) => sumOfPart(b, part, score)), ...constants.map(({ value }) => value)]
  answer('components', transpose(b, stacked(b, components), [0, 2, 1]))
  if (structure.tokens) answer('tokens', transpose(b, stacked(b, tokensOf(b, parts, { score, config })), [0, 3, 1, 2]))
  if (structure.heads || structure.sources) {
    const attention = layers.map((layer) => ({ layer, directions: readers.map((reader) => directionsAtZ(b, reader, layer, setting)) }))
    const ofLayers = (make: typeof headParts) =>
      stacked(
        b,
        attention.map((each) => make(b, each, setting)),
      )
    if (structure.heads) answer('heads', transpose(b, ofLayers(headParts), [0, 3, 1, 2]))
    if (structure.sources) answer('sources', transpose(b, ofLayers(sourceParts), [0, 4, 1, 2, 3]))
  }
  if (structure.neurons > 0) {
    const ofLayers = layers.map((layer) => neuronParts(b, layer, { ...setting, k: structure.neurons }))
    for (const name of ['values', 'indices', 'activations'] as const) {
      answer(
        `neurons.${name}`,
        transpose(
          b,
          stacked(
            b,
            ofLayers.map((each) => each[name]),
          ),
          [0, 2, 1, 3],
        ),
      )
    }
  }
  for (const [index, k] of structure.features.entries()) {
    const sae = saes[index]!
    const found: Readonly<Record<string, string>> = {
      ...featureParts(b, featureSite(b, { ...setting, sae, index }), { ...setting, sae, prefix: saePrefix(index), k, score }),
    }
    for (const [name, value] of Object.entries(found)) answer(`features[${index}].${name}`, value)
  }
  editor.insert(at, b.nodes(), b.declarations())
  return prune({ ...editor.graph(), outputs })
}

/** What `components` lists, in its order; the last ones are biases that no token carries. */
export function partNames(graph: Graph, config: VisionConfig): PartName[] {
  return [...listParts(graph, config), ...listConstants(graph).map((name) => ({ name, kind: 'bias' as const }))]
}

function tokensOf(b: GraphBuilder, parts: readonly TokenPart[], { score, config }: { score: string; config: VisionConfig }): string[] {
  return parts.map((part) => tokensOfPart(b, part, { score, length: nPositions(config) }))
}

/** Along a new axis 1. */
function stacked(b: GraphBuilder, values: readonly string[]): string {
  const one = b.constant(int64([1], [1]))
  return b.op(
    'Concat',
    values.map((value) => b.op('Unsqueeze', [value, one])),
    { axis: 1 },
  )
}

/** Where the directions of an SAE's output are known: the residual stream, and what attention and MLPs write to it. @throws INPUT_INVALID */
function featureSite(
  b: GraphBuilder,
  { sae, index, ...setting }: PartSetting & { readonly sae: SaeConfig; readonly index: number },
): FeatureSite {
  const { graph, config, readers } = setting
  const hookPoint = sae.transcoder?.hookPointOut ?? sae.hookPoint
  const x = vectors(b, sae.hookPoint, sae)
  const y = sae.transcoder ? hookPoint : x
  const [, layer, place] = /^(?:blocks\.(\d+)\.)?(.+)$/.exec(hookPoint) as unknown as [string, string | undefined, string]
  switch (place) {
    case 'hook_ln_pre':
    case 'hook_resid_pre':
    case 'hook_resid_mid':
    case 'hook_resid_post':
    case 'hook_attn_out':
    case 'hook_mlp_out':
      return { x, y, directions: readers.map(({ directions }) => directions) }
    case 'mlp.hook_post':
      return { x, y, directions: readers.map((reader) => directionsAtNeurons(b, reader, Number(layer), setting)) }
    case 'attn.hook_z': {
      const directions = readers.map((reader) => directionsAtZ(b, reader, Number(layer), { graph, config, readers }))
      const { headIndex } = sae
      if (headIndex === undefined) return { x, y, directions }
      const at = { axis: 1, start: headIndex * config.dHead, end: (headIndex + 1) * config.dHead }
      return { x, y, directions: directions.map((all) => slice(b, all, at)) }
    }
    default: {
      const problem = `writes to ${hookPoint}, which no score reads directly; take one at the residual stream, at hook_attn_out or hook_mlp_out, attn.hook_z or mlp.hook_post`
      throw new EngineError('INPUT_INVALID', { path: `saes[${index}]`, problem })
    }
  }
}

/**
 * What a model is trained to do, as a graph with the loss among its outputs: classify pictures, or tell which text belongs to which picture.
 * The towers' parameters have `vision/` and `text/` before their names.
 */

import { EngineError } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import { type InitScheme, initializeWeights, initialLogScale } from '../models/initialize.js'
import type { TextConfig, TowerName, VisionConfig } from '../models/model.js'
import { textGraph } from '../models/text-tower.js'
import { visionGraph } from '../models/vit.js'
import type { Random } from '../random.js'
import { scalar, type Tensor } from '../tensor.js'
import { extend, sideBySide } from './extend-graph.js'
import { accuracy, clipContrastive, crossEntropy, sameGroup } from './losses.js'
import { clamped, type Projection } from './projections.js'

export type ModelObjective =
  | { readonly kind: 'classification'; readonly vision: VisionConfig; readonly labelSmoothing?: number }
  /** `grouped`: batches have `groups`, and what has one number there belongs together (several captions or pictures of one thing). */
  | { readonly kind: 'clip'; readonly vision: VisionConfig; readonly text: TextConfig; readonly grouped?: boolean }

/** CLIP's learned temperature, as a logarithm: a parameter beside the towers. */
export const logScaleName = 'logit_scale'

/** CLIP's authors keep the factor between cosines and logits at most 100. */
const mostLogScale = Math.log(100)

/**
 * Inputs: `pixels`, and `labels` (classification) or `tokens` and, if grouped, `groups` (CLIP). Outputs: `loss`, and `accuracy` or `logitScale`.
 * @throws CONFIG_INVALID when the towers cannot be trained to that
 */
export function objectiveGraph(objective: ModelObjective): Graph {
  checkObjective(objective)
  const { vision } = objective
  if (objective.kind === 'classification') {
    const graph = sideBySide('classification', { vision: visionGraph(vision) })
    const [logits] = graph.outputs as [string]
    return extend({ ...graph, outputs: [] }, 'objective/', (b) => {
      const labels = b.input('labels', 'int64', ['batch'])
      const { labelSmoothing = 0 } = objective
      return [b.named('loss', crossEntropy(b, logits, labels, { labelSmoothing })), b.named('accuracy', accuracy(b, logits, labels))]
    })
  }
  const graph = sideBySide('clip', { vision: visionGraph(vision), text: textGraph(objective.text) })
  const [image, text] = graph.outputs as [string, string]
  return extend({ ...graph, outputs: [] }, 'objective/', (b) => {
    const logScale = b.parameter(logScaleName, [])
    const positives = objective.grouped ? sameGroup(b, b.input('groups', 'int64', ['batch'])) : undefined
    const loss = clipContrastive(b, { image, text, logScale, ...(positives !== undefined && { positives }) })
    return [b.named('loss', loss), b.named('logitScale', b.op('Exp', [logScale]))]
  })
}

/** Projections that belong to the objective. */
export function objectiveProjections(objective: ModelObjective): Readonly<Record<string, Projection>> {
  return objective.kind === 'clip' ? { [logScaleName]: clamped(0, mostLogScale) } : {}
}

export interface InitialWeightsOptions {
  readonly vision?: InitScheme
  readonly text?: InitScheme
}

/** Random weights for every parameter of the objective. */
export function initialWeights(objective: ModelObjective, random: Random, schemes: InitialWeightsOptions = {}): Record<string, Tensor> {
  const of = (tower: TowerName, config: VisionConfig | TextConfig) => {
    const scheme = schemes[tower]
    return withPrefix(tower, initializeWeights(config, random, scheme === undefined ? {} : { scheme }))
  }
  const vision = of('vision', objective.vision)
  return objective.kind === 'clip' ? { ...vision, ...of('text', objective.text), [logScaleName]: scalar(initialLogScale) } : vision
}

/** One tower's weights by the names of its own graph. */
export function towerWeights(weights: Readonly<Record<string, Tensor>>, tower: TowerName): Record<string, Tensor> {
  const own = Object.entries(weights).filter(([name]) => name.startsWith(`${tower}/`))
  return Object.fromEntries(own.map(([name, weight]) => [name.slice(tower.length + 1), weight]))
}

function withPrefix(tower: TowerName, weights: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(weights).map(([name, weight]) => [`${tower}/${name}`, weight]))
}

function checkObjective(objective: ModelObjective): void {
  const problems: string[] = []
  const { vision } = objective
  if (vision.pooling === 'none' || vision.pooling === 'patches')
    problems.push(`vision.pooling: "${vision.pooling}" leaves several rows a picture`)
  if (objective.kind === 'classification') {
    if (vision.head.kind !== 'classes') problems.push(`vision.head.kind: "${vision.head.kind}"; classification needs "classes"`)
    const { labelSmoothing = 0 } = objective
    if (!(labelSmoothing >= 0 && labelSmoothing < 1)) problems.push(`labelSmoothing: ${labelSmoothing} is not in [0, 1)`)
  } else {
    for (const [tower, { head, normalizeOutput }] of [['vision', vision] as const, ['text', objective.text] as const]) {
      if (head.kind !== 'projection') problems.push(`${tower}.head.kind: "${head.kind}"; CLIP needs "projection"`)
      if (!normalizeOutput) problems.push(`${tower}.normalizeOutput: CLIP compares embeddings of length 1`)
    }
    const [image, text] = [vision.head.dOut, objective.text.head.dOut]
    if (image !== text) problems.push(`head.dOut: ${image} in the vision tower and ${text} in the text tower`)
  }
  if (problems.length > 0) throw new EngineError('CONFIG_INVALID', { problems })
}

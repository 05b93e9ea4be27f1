/**
 * What a model is trained to do, as a graph with the loss among its outputs: classify pictures, or tell which text belongs to which picture.
 * The towers' parameters have `vision/` and `text/` before their names.
 */

import { EngineError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { scaleBy, slice, transpose } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { type InitScheme, initializeWeights, initialLogScale } from '../models/initialize.js'
import type { TextConfig, TowerName, VisionConfig } from '../models/model.js'
import { textGraph } from '../models/text-tower.js'
import { visionGraph } from '../models/vit.js'
import type { Random } from '../random.js'
import { scalar, type Tensor } from '../tensor.js'
import { extend, prefixed, sideBySide } from './extend-graph.js'
import { accuracy, clipContrastive, crossEntropy, sameGroup } from './losses.js'
import { visionGraphOnPatches } from './patch-dropout.js'
import { clamped, type Projection } from './projections.js'

export type ModelObjective = (Classification | Clip) & {
  /** The share of the patches that a step leaves out, in [0, 1). See `patch-dropout.ts`. Default 0. */
  readonly patchDropout?: number
}

interface Classification {
  readonly kind: 'classification'
  readonly vision: VisionConfig
  readonly labelSmoothing?: number
}

interface Clip {
  readonly kind: 'clip'
  readonly vision: VisionConfig
  readonly text: TextConfig
  /** Batches have `groups`, and what has one number there belongs together (several captions or pictures of one thing). */
  readonly grouped?: boolean
  /** What the contrast of pictures and captions counts for in the loss. Default 1. */
  readonly contrastWeight?: number
  /** Questions that are asked beside it. */
  readonly textClasses?: readonly TextClasses[]
}

/**
 * A question that every picture is asked, of which text is its own: one text for each class, the same for the whole batch. Where few pictures
 * of a batch have to do with one another, it says in each step what the caption of one picture cannot.
 * Yang et al. (2022), "Unified Contrastive Learning", with the texts of all classes in every batch.
 */
export interface TextClasses {
  readonly name: string
  readonly nClasses: number
  /** What its cross entropy counts for in the loss. */
  readonly weight: number
  readonly labelSmoothing?: number
}

/** CLIP's learned temperature, as a logarithm: a parameter beside the towers. */
export const logScaleName = 'logit_scale'

/** CLIP's authors keep the factor between cosines and logits at most 100. */
const mostLogScale = Math.log(100)

/** `[nTexts, contextLength]`: the texts of all classes, one question after the other. */
export const classTokensInput = 'classTokens'

/** `[batch]`, int64: which of a question's classes each picture has. */
export const classLabelsInput = (question: string) => `${question}/labels`

/**
 * Inputs: `pixels`, and `labels` (classification) or `tokens` and, if grouped, `groups` (CLIP); with text classes theirs, with patch dropout
 * `keptPatches`. Outputs: `loss`, and `accuracy` or `logitScale` and each part of the loss.
 * @throws CONFIG_INVALID when the towers cannot be trained to that
 */
export function objectiveGraph(objective: ModelObjective): Graph {
  checkObjective(objective)
  return objective.kind === 'classification' ? classificationGraph(objective) : clipGraph(objective)
}

function visionTower({ vision, patchDropout = 0 }: ModelObjective): Graph {
  return prefixed(patchDropout === 0 ? visionGraph(vision) : visionGraphOnPatches(vision, patchDropout), 'vision')
}

function classificationGraph(objective: ModelObjective & Classification): Graph {
  const graph = sideBySide('classification', [visionTower(objective)])
  const [logits] = graph.outputs as [string]
  return extend({ ...graph, outputs: [] }, 'objective/', (b) => {
    const labels = b.input('labels', 'int64', ['batch'])
    const { labelSmoothing = 0 } = objective
    return [b.named('loss', crossEntropy(b, logits, labels, { labelSmoothing })), b.named('accuracy', accuracy(b, logits, labels))]
  })
}

function clipGraph(objective: ModelObjective & Clip): Graph {
  const { textClasses = [], contrastWeight = 1 } = objective
  const captions = prefixed(textGraph(objective.text), 'text')
  const graph = sideBySide('clip', [visionTower(objective), captions, ...classTexts(objective)])
  const [image, text, classes] = graph.outputs as [string, string, string?]
  return extend({ ...graph, outputs: [] }, 'objective/', (b) => {
    const logScale = b.parameter(logScaleName, [])
    const positives = objective.grouped ? sameGroup(b, b.input('groups', 'int64', ['batch'])) : undefined
    const contrast = clipContrastive(b, { image, text, logScale, ...(positives !== undefined && { positives }) })
    const logitScale = b.named('logitScale', b.op('Exp', [logScale]))
    if (classes === undefined) return [b.named('loss', scaleBy(b, contrast, contrastWeight)), logitScale]
    const logits = b.op('MatMul', [b.op('Mul', [image, logitScale]), transpose(b, classes, [1, 0])]) // [batch, nTexts]
    const parts = [{ name: 'contrast', value: contrast, weight: contrastWeight }, ...questions(b, logits, textClasses)]
    const loss = parts.map(({ value, weight }) => scaleBy(b, value, weight)).reduce((sum, part) => b.op('Add', [sum, part]))
    return [b.named('loss', loss), logitScale, ...parts.map(({ name, value }) => b.named(`loss/${name}`, value))]
  })
}

/** The text tower once more, over the texts of the classes. */
function classTexts({ text, textClasses = [] }: Clip): Graph[] {
  if (textClasses.length === 0) return []
  const nTexts = textClasses.reduce((sum, { nClasses }) => sum + nClasses, 0)
  const tokens = { name: classTokensInput, type: { dtype: 'int64', shape: [nTexts, text.contextLength] } } as const
  return [prefixed(textGraph(text), 'classes', { parameters: 'text', inputs: { tokens } })]
}

/** @param logits  `[batch, nTexts]` */
function questions(b: GraphBuilder, logits: string, textClasses: readonly TextClasses[]) {
  let start = 0
  return textClasses.map(({ name, nClasses, weight, labelSmoothing = 0 }) => {
    const own = slice(b, logits, { axis: 1, start, end: start + nClasses })
    start += nClasses
    return { name, weight, value: crossEntropy(b, own, b.input(classLabelsInput(name), 'int64', ['batch']), { labelSmoothing }) }
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

const isShare = (value: number) => value >= 0 && value < 1

function checkObjective(objective: ModelObjective): void {
  const problems: string[] = []
  const { vision, patchDropout = 0 } = objective
  if (!isShare(patchDropout)) problems.push(`patchDropout: ${patchDropout} is not in [0, 1)`)
  if (vision.pooling === 'none' || vision.pooling === 'patches')
    problems.push(`vision.pooling: "${vision.pooling}" leaves several rows a picture`)
  if (objective.kind === 'classification') {
    if (vision.head.kind !== 'classes') problems.push(`vision.head.kind: "${vision.head.kind}"; classification needs "classes"`)
    const { labelSmoothing = 0 } = objective
    if (!isShare(labelSmoothing)) problems.push(`labelSmoothing: ${labelSmoothing} is not in [0, 1)`)
  } else {
    for (const [tower, { head, normalizeOutput }] of [['vision', vision] as const, ['text', objective.text] as const]) {
      if (head.kind !== 'projection') problems.push(`${tower}.head.kind: "${head.kind}"; CLIP needs "projection"`)
      if (!normalizeOutput) problems.push(`${tower}.normalizeOutput: CLIP compares embeddings of length 1`)
    }
    const [image, text] = [vision.head.dOut, objective.text.head.dOut]
    for (const { name, labelSmoothing = 0 } of objective.textClasses ?? []) {
      if (!isShare(labelSmoothing)) problems.push(`textClasses.${name}.labelSmoothing: ${labelSmoothing} is not in [0, 1)`)
    }
    if (image !== text) problems.push(`head.dOut: ${image} in the vision tower and ${text} in the text tower`)
  }
  if (problems.length > 0) throw new EngineError('CONFIG_INVALID', { problems })
}

/**
 * Logit lens: what each token of each layer would be answered if it were the last layer's pooled one, read through the model's own final
 * norm and head, or against labels through CLIP's projection and temperature.
 * @see nostalgebraist (2020), "interpreting GPT: the logit lens"; for patches: ViT-Prisma
 */

import { EngineError } from '../../errors.js'
import type { Edit } from '../../interventions/edit.js'
import type { VisionConfig } from '../../models/model.js'
import { float32, int64, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { editedRun } from '../edited-run.js'
import { directionsInput, type Scoring } from '../targets.js'
import type { Workbench } from '../workbench.js'
import { arrangeLens, type LensPart, type LogitLensOutput } from './arrange-lens.js'
import { type LensStructure, lensGraph, lensInputs } from './lens-graph.js'
import { nReadOut, poolsTokens } from './read-out.js'

export interface LogitLensInput {
  /** `[batch, channel, height, width]`, preprocessed. */
  readonly pixels: Tensor<'float32'>
  /** Of the residual stream, each once. */
  readonly hookPoints: readonly string[]
  /** Of the run that is looked at; the bench's SAEs are those that they name. */
  readonly edits?: readonly Edit[]
  /** Absent: the model's own classes. */
  readonly labels?: LensLabels
  /** How many of the most probable classes; fewer where there are not as many. */
  readonly topK: number
  /** Whose rank is wanted, one of the classes; absent: what the model answers, of each image its own. */
  readonly target?: number
  /** Whether all logits are answered. */
  readonly withLogits?: boolean
  /** Logits that are computed for one image: hook points times tokens times classes, so that `cost` knows. */
  readonly nLogits: number
}

export interface LensLabels {
  /** `[nLabels, dOut]`, unit vectors. */
  readonly directions: Tensor<'float32'>
  readonly scoring: Scoring
  /** Added to every logit (SigLIP). */
  readonly bias: number
}

/** Of one run: logits, 64 MB of them, and images. */
const [LOGITS_PER_RUN, ROWS_PER_RUN] = [2 ** 24, 32]
/** The stream as it is read, put together, normed. */
const KEPT = 4
/** Counts of labels and of the most probable classes are rounded up to one of these, so that a few programs serve all. */
const [LABEL_COUNTS, TOP_COUNTS] = [
  [64, 256, 1024, 2048],
  [8, 64, 256, 1024, 4096],
]
/** Of labels that are none: no softmax sees them. */
const NO_LABEL = -1e30

export const logitLens: Analysis<LogitLensInput, LogitLensOutput> = {
  cost({ pixels, hookPoints, nLogits, withLogits }) {
    const batch = pixels.shape[0]!
    const rows = rowsPerRun(batch, nLogits)
    const perBlock = new Set(hookPoints.map((name) => name.slice(name.lastIndexOf('.')))).size
    // logits, their exponentials and two passing values; the answer
    return { rows, kept: KEPT * perBlock * rows, bytes: 4 * nLogits * (4 * rows + (withLogits ? 2 * batch : 0)) }
  },

  async run(bench, input) {
    const { config } = bench.model
    requireResidual(bench, input.hookPoints)
    const { structure, feeds, nClasses } = prepare(config, input)
    const run = editedRun(bench, input.edits ?? [], input.pixels.shape[0]!)
    const program = await bench.ready(`logitLens ${JSON.stringify(structure)} ${run.structure}`, () => {
      return lensGraph(run.build(), config, structure)
    })
    const parts: LensPart[] = []
    for (const portion of run.portions(input.pixels, rowsPerRun(input.pixels.shape[0]!, input.nLogits))) {
      const nRows = portion.pixels.shape[0]!
      const target = int64([nRows], Array<number>(nRows).fill(input.target ?? -1))
      parts.push({ nRows, values: await program.run({ ...portion, [lensInputs.target]: target, ...feeds }) })
    }
    const topK = Math.min(input.topK, nClasses)
    return arrangeLens(parts, { config, nLayers: input.hookPoints.length, nClasses, topK, withLogits: input.withLogits ?? false })
  },
}

const roundedUp = (count: number, counts: readonly number[]) => counts.find((each) => each >= count) ?? count

/** What `nLogits` is: of every hook point, tokens and what they are pooled to. @param nLabels  absent: the model's own classes */
export function logitsOfImage(config: VisionConfig, { nHookPoints, nLabels }: { nHookPoints: number; nLabels?: number }): number {
  return nHookPoints * nReadOut(config) * (nLabels === undefined ? config.head.dOut : roundedUp(nLabels, LABEL_COUNTS))
}

const rowsPerRun = (batch: number, nLogits: number) => Math.max(1, Math.min(batch, ROWS_PER_RUN, Math.floor(LOGITS_PER_RUN / nLogits)))

/** @throws INPUT_INVALID naming every one that is no residual stream */
function requireResidual({ model: { description } }: Workbench, hookPoints: readonly string[]): void {
  const known = description.vision.hookPoints.filter(({ name }) => isResidual(name)).map(({ name }) => name)
  const problems = hookPoints.flatMap((name, index) => {
    const problem = `${name} is not the residual stream of a layer; read ${known[0]} to ${known.at(-1)}`
    return known.includes(name) ? [] : [{ path: `hookPoints[${index}]`, message: problem }]
  })
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
}

/** Whether a hook point is what the lens reads: the residual stream between the blocks' halves. */
export function isResidual(hookPoint: string): boolean {
  return /^blocks\.\d+\.hook_resid_(pre|mid|post)$/.test(hookPoint)
}

function prepare(config: VisionConfig, { hookPoints, labels, topK, target, withLogits = false }: LogitLensInput) {
  const nClasses = labels ? labels.directions.shape[0]! : config.head.dOut
  if (target !== undefined && target >= nClasses) {
    throw new EngineError('INPUT_INVALID', { path: 'target', problem: `${target} is out of range; the classes are 0 to ${nClasses - 1}` })
  }
  if (target === undefined && !poolsTokens(config)) {
    const problem = 'is missing: the model gives no one answer for an image that could be the target'
    throw new EngineError('INPUT_INVALID', { path: 'target', problem })
  }
  const nLabels = labels && roundedUp(nClasses, LABEL_COUNTS)
  const structure: LensStructure = {
    hookPoints,
    topK: Math.min(roundedUp(topK, TOP_COUNTS), nLabels ?? nClasses),
    ...(labels && { labels: { scoring: labels.scoring, nLabels: nLabels! } }),
    withLogits,
  }
  return { structure, feeds: labels ? padLabels(labels, nLabels!) : {}, nClasses }
}

/** With labels that are none after the others. */
function padLabels({ directions, bias }: LensLabels, length: number): Readonly<Record<string, Tensor>> {
  const [nLabels, width] = directions.shape as [number, number]
  const padded = new Float32Array(length * width)
  padded.set(directions.data)
  const biases = new Float32Array(length).fill(NO_LABEL)
  biases.fill(bias, 0, nLabels)
  return { [directionsInput]: float32([length, width], padded), [lensInputs.bias]: float32([length], biases) }
}

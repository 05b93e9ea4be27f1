/**
 * Measures SAEs on batches of pictures: how well each predicts, how sparse it is, and how the model answers when the prediction stands in the
 * place of the activation. For a batch the model runs once as it is, up to its end; then, for each SAE, only what comes after its hook point,
 * and once more for each hook point with zeros.
 */

import type { Backend, Program, ResidentWeights } from '../backends/backend.js'
import { EngineError, invariant } from '../errors.js'
import { findHookPoints } from '../graph/edit.js'
import type { Graph } from '../graph/graph.js'
import { inferTypes } from '../graph/infer.js'
import { prune } from '../graph/prune.js'
import type { LoadedTower } from '../models/load.js'
import type { VisionConfig } from '../models/model.js'
import type { Tensor } from '../tensor.js'
import { type Answers, compareAnswers, ownAnswers, type Scoring } from './answers.js'
import { type Classes, checkClasses, classFeeds, scoreOutputs, withScores } from './class-scores.js'
import { continuation, replacementInput } from './continuation.js'
import { type BatchRow, type Clusters, type EvaluationShard, emptyEvaluation, type Sums } from './evaluation-shard.js'
import { latentNumbers, type MeasuredTokens, measureGraph, replacedOutput } from './measure-graph.js'
import { clustersOf, reconstructionSums } from './reconstruction-sums.js'
import { nTokens, type StudiedSae, type StudiedTokens, studiedTokens } from './studied-sae.js'
import { withoutTokens } from './zero-ablation.js'

export interface EvaluatorOptions {
  readonly backend: Backend
  readonly tower: LoadedTower
  readonly config: VisionConfig
  readonly saes: readonly StudiedSae[]
  /** What cross-entropies and divergences are over. Absent: neither is measured. */
  readonly classes?: Classes
}

export interface EvaluatedBatch {
  /** Of all batches of the data set; tells which are merged already. */
  readonly batch: number
  /** `[batch, nChannels, height, width]`, preprocessed. */
  readonly pixels: Tensor
  /** Index of the true class of each picture. Absent: no cross-entropies, no accuracies. */
  readonly labels?: readonly number[]
}

export interface SaeEvaluator {
  /** A shard without batches, to add to. */
  empty(): EvaluationShard
  /** @throws INPUT_INVALID for labels that are no classes; CHECKPOINT_MISMATCH when the shard has the batch */
  addBatch(shard: EvaluationShard, batch: EvaluatedBatch): Promise<EvaluationShard>
  dispose(): Promise<void>
}

/** One SAE, ready to run. */
interface Plan {
  readonly sae: StudiedSae
  readonly tokens: MeasuredTokens
  /** Key of its clusters. */
  readonly target: string
  readonly hookPointOut: string
}

/** @throws SAE_MISFIT, INPUT_INVALID, SHAPE_MISMATCH; what the backend throws */
export async function openSaeEvaluator({ backend, tower, config, saes, classes }: EvaluatorOptions): Promise<SaeEvaluator> {
  if (classes) checkClasses(classes, config)
  if (new Set(saes.map(({ id }) => id)).size < saes.length) {
    throw new EngineError('INPUT_INVALID', { path: 'saes', problem: 'two SAEs have the same id.' })
  }
  const plans = saes.map((sae) => planOf(sae, config))
  const opened: { dispose(): Promise<void> }[] = []
  const keep = <T extends { dispose(): Promise<void> }>(made: T): T => {
    opened.push(made)
    return made
  }
  try {
    const whole = tower.buildGraph(new Set(plans.flatMap(({ sae, hookPointOut }) => [sae.config.hookPoint, hookPointOut])))
    const types = inferTypes(whole)
    const restOf = new Map(
      [...new Set(plans.map(({ hookPointOut }) => hookPointOut))].map((name) => [name, continuation(whole, name, types)]),
    )
    const valueAt = (hookPoint: string) => findHookPoints(whole, [hookPoint])[0]!.firings.at(-1)!
    const read = plans.flatMap(({ sae, hookPointOut }) => [valueAt(sae.config.hookPoint), valueAt(hookPointOut)])
    const isMade = new Set(whole.nodes.flatMap(({ outputs }) => outputs))
    const carried = [...restOf.values()].flatMap((rest) => rest.carried.filter((value) => isMade.has(value)))
    const scored = withScores(whole, classes)
    const clean = prune({ ...scored, outputs: [...new Set([...scored.outputs, ...read, ...carried])] })
    const rests = [...restOf].map(([hookPoint, { graph }]) => ({ hookPoint, graph: withScores(graph, classes) }))

    const modelWeights = keep(await backend.upload(neededBy([clean, ...rests.map(({ graph }) => graph)], tower.weights)))
    const model = keep(await backend.compile(clean))
    const restPrograms = new Map<string, Rest>()
    for (const { hookPoint, graph } of rests) restPrograms.set(hookPoint, { graph, program: keep(await backend.compile(graph)) })
    const measures: Measure[] = []
    for (const plan of plans) {
      const graph = measureGraph(plan.sae.config, plan.tokens, { isSpliced: true })
      measures.push({ plan, graph, program: keep(await backend.compile(graph)), weights: keep(await backend.upload(plan.sae.weights)) })
    }
    const output = whole.outputs[0]!
    const empty = emptyEvaluation({
      saes: plans.map(({ sae, target }) => ({ id: sae.id, dSae: sae.config.dSae, target })),
      prismaScores: classes?.kind === 'texts' && !classes.bareEmbeddings ? 'other-texts' : 'as-published',
    })
    return {
      empty: () => empty,
      addBatch: async (shard, batch) => {
        if (shard.batches.has(batch.batch)) {
          throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this shard', problems: [`it has batch ${batch.batch} already`] })
        }
        const scoring = scoringOf(classes, batch, classes?.kind === 'texts' ? classes.embeddings.shape[0]! : config.head.dOut)
        const values = await model.run({
          inputs: { pixels: batch.pixels, ...classFeeds(classes) },
          weights: modelWeights,
          fetch: clean.outputs,
        })
        const answersOf = (fetched: Readonly<Record<string, Tensor>>): Answers => ({
          output: fetched[output]!,
          ...(classes && { scores: fetched[classes.kind === 'logits' ? output : scoreOutputs.scores]! }),
          ...(fetched[scoreOutputs.bareScores] && { bareScores: fetched[scoreOutputs.bareScores]! }),
        })
        const answer = async (hookPoint: string, replacement: Tensor): Promise<Answers> => {
          const { graph, program } = restPrograms.get(hookPoint)!
          const given: Record<string, Tensor> = { ...values, pixels: batch.pixels, ...classFeeds(classes), [replacementInput]: replacement }
          const inputs = Object.fromEntries(Object.keys(graph.inputs).map((name) => [name, given[name]!]))
          return answersOf(await program.run({ inputs, weights: modelWeights, fetch: graph.outputs }))
        }
        const cleanAnswers = answersOf(values)
        return addRow(shard, batch.batch, await measureBatch({ measures, valueAt, values, answer, cleanAnswers, scoring }))
      },
      dispose: async () => {
        await Promise.all(opened.map((resource) => resource.dispose()))
      },
    }
  } catch (error) {
    await Promise.all(opened.map((resource) => resource.dispose()))
    throw error
  }
}

interface Rest {
  readonly graph: Graph
  readonly program: Program
}

interface Measure {
  readonly plan: Plan
  readonly graph: Graph
  readonly program: Program
  readonly weights: ResidentWeights
}

function planOf(sae: StudiedSae, config: VisionConfig): Plan {
  const read = studiedTokens(sae, config)
  const hookPointOut = sae.config.transcoder?.hookPointOut ?? sae.config.hookPoint
  const predicted = sae.config.transcoder ? studiedTokens(sae, config, hookPointOut) : read
  if (nTokens(read) !== nTokens(predicted)) {
    const problem = `"${read.hookPoint.name}" has ${nTokens(read)} ${sae.positions} tokens, and "${hookPointOut}" ${nTokens(predicted)}.`
    throw new EngineError('INPUT_INVALID', { path: `${sae.id}.positions`, problem })
  }
  const { headIndex } = sae.config
  const target = `${hookPointOut}${headIndex === undefined || sae.config.transcoder ? '' : `[${headIndex}]`} ${sae.positions}`
  return { sae, tokens: { read, predicted }, target, hookPointOut }
}

function neededBy(graphs: readonly Graph[], weights: LoadedTower['weights']): LoadedTower['weights'] {
  return Object.fromEntries(Object.entries(weights).filter(([name]) => graphs.some(({ parameters }) => Object.hasOwn(parameters, name))))
}

function scoringOf(classes: Classes | undefined, { pixels, labels }: EvaluatedBatch, nClasses: number): Scoring {
  if (labels && classes) {
    const at = labels.findIndex((label) => !(Number.isInteger(label) && label >= 0 && label < nClasses))
    const refuse = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })
    if (labels.length !== pixels.shape[0]) throw refuse('labels', `there are ${labels.length} for ${pixels.shape[0]} pictures.`)
    if (at >= 0) throw refuse(`labels[${at}]`, `is ${labels[at]}; there are ${nClasses} classes, from 0.`)
  }
  const scale =
    classes?.kind === 'texts' ? { logitScale: classes.logitScale, logitBias: classes.logitBias ?? 0 } : { logitScale: 1, logitBias: 0 }
  return { ...scale, ...(labels && { labels }) }
}

interface BatchContext {
  readonly measures: readonly Measure[]
  readonly valueAt: (hookPoint: string) => string
  /** Of the model as it is. */
  readonly values: Readonly<Record<string, Tensor>>
  readonly answer: (hookPoint: string, replacement: Tensor) => Promise<Answers>
  readonly cleanAnswers: Answers
  readonly scoring: Scoring
}

interface Row extends BatchRow {
  readonly fired: Readonly<Record<string, Float32Array>>
}

async function measureBatch({ measures, valueAt, values, answer, cleanAnswers, scoring }: BatchContext): Promise<Row> {
  const sums: Record<string, Sums> = {}
  const clusters: Record<string, Clusters> = {}
  const fired: Record<string, Float32Array> = {}
  const zeroed = new Map<string, Sums>()
  const withZeros = async ({ hookPointOut, tokens }: Plan, only: StudiedTokens | undefined): Promise<Sums> => {
    const key = `${hookPointOut} ${only ? `${only.from}-${only.to}` : 'all'}`
    const known = zeroed.get(key)
    if (known) return known
    const ablated = await answer(
      hookPointOut,
      withoutTokens(values[valueAt(hookPointOut)]!, only ?? { ...tokens.predicted, from: 0, to: tokens.predicted.length }),
    )
    const made = compareAnswers(cleanAnswers, ablated, scoring)
    zeroed.set(key, made)
    return made
  }
  for (const { plan, graph, program, weights } of measures) {
    const { sae, tokens, target, hookPointOut } = plan
    const inputs = {
      x: values[valueAt(sae.config.hookPoint)]!,
      ...(sae.config.transcoder && { target: values[valueAt(hookPointOut)]! }),
    }
    const measured = await program.run({ inputs, weights, fetch: graph.outputs })
    const ofTokens = sae.positions === 'all' ? undefined : tokens.predicted
    const all = await withZeros(plan, undefined)
    sums[sae.id] = {
      ...reconstructionSums(measured, tokens.predicted),
      ...renamed('reconstruction', compareAnswers(cleanAnswers, await answer(hookPointOut, measured[replacedOutput]!), scoring)),
      ...renamed('zero', ofTokens ? await withZeros(plan, ofTokens) : all),
      ...renamed('zeroAll', all),
    }
    clusters[target] ??= clustersOf(measured, tokens.predicted)
    fired[sae.id] = measured[latentNumbers.max]!.data as Float32Array
  }
  const nImages = cleanAnswers.output.shape[0]!
  return { nImages, clean: ownAnswers(cleanAnswers, scoring), sums, clusters, fired }
}

const renamed = (prefix: string, sums: Sums): Sums =>
  Object.fromEntries(Object.entries(sums).map(([name, value]) => [`${prefix}.${name}`, value]))

function addRow(shard: EvaluationShard, batch: number, { fired, ...row }: Row): EvaluationShard {
  invariant(row.nImages > 0, 'a batch has a picture')
  return {
    ...shard,
    batches: new Map([...shard.batches, [batch, row]]),
    fired: Object.fromEntries(
      shard.saes.map(({ id }) => [id, shard.fired[id]!.map((is, latent) => (is || fired[id]![latent]! > 0 ? 1 : 0))]),
    ),
  }
}

/**
 * Steering: the same pictures with and without edits, side by side in one batch, and how much of what follows any direction of that length
 * would have done. What comes before the first edit is computed once for each picture.
 * Turner et al. (2023), "Activation addition"; random directions of equal norm as the control: Heimersheim and Mendel (2024).
 */

import { divergence, probabilitiesOf } from '../../distributions.js'
import { EngineError } from '../../errors.js'
import { editInputs, maskInput } from '../../interventions/apply-edits.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import { techniqueOf } from '../../interventions/techniques.js'
import type { HookPointInfo } from '../../models/model.js'
import { zeroShotScores } from '../../models/zero-shot.js'
import { saePrefix } from '../../saes/attach-saes.js'
import { allocate, elementCount, float32, type Tensor, tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { type Inputs, inChunks, MOST_ROWS, type Outputs, sharedPrefix } from '../shared-prefix.js'
import { type Scoring, scoringOf, type Target } from '../targets.js'
import type { Workbench } from '../workbench.js'
import { randomDirections } from './random-directions.js'
import type { ControlEffects, EffectKind, Pair, SteerInput, SteerOutput } from './steer-contract.js'
import { controlDirection, controlRows, editedHookPoints, lengthBefore, type SteerGraph, sizeOf, steerGraph } from './steer-graph.js'
import { relativeTo, vectorChanges } from './vector-changes.js'

/** With latents of an SAE for each of their tokens, fewer rows run at once. */
const rowsAtOnce = (withSaes: boolean) => (withSaes ? 8 : MOST_ROWS)
/** What is read of both runs of a picture, as runs give it, put together, and by kind of run. */
const COPIES = 3

export const steer: Analysis<SteerInput, SteerOutput> = {
  cost({ pixels, edits, readBytes, answers, controls }) {
    const nImages = pixels.shape[0]!
    const nAnswers = answers === undefined || answers === 'classes' ? 0 : answers.embeddings.shape[0]!
    return {
      // What comes before the edits is run of all pictures at once.
      rows: Math.max(nImages, Math.min(rowsAtOnce(edits.some((edit) => 'sae' in edit)), nImages * (2 + (controls?.n ?? 0)))),
      bytes: nImages * (2 * COPIES * readBytes + 8 * nAnswers + 4 * (controls?.n ?? 0)),
    }
  },

  async run(bench, input) {
    const { pixels, edits, read, answers, targets } = input
    const nImages = pixels.shape[0]!
    const runner = await openRunner(bench, input, read)
    const variants = Array.from({ length: nImages }, (_, image) => [{ image }, { image, kind: 'steered' as const }]).flat()
    const both = await runner.run(variants)
    const pairOf = (name: string): Pair => ({ default: everySecond(both[name]!, 0), steered: everySecond(both[name]!, 1) })
    const [outputName] = runner.built.graph.outputs as [string]
    const output = pairOf(outputName)
    const logits = answers && mapPair(output, (each) => logitsOf(each, answers))
    const scoring = scoringOf(bench.model.description)
    const scores = targets.length > 0 ? mapPair(output, (each) => scoresOf(each, targets, scoring)) : undefined
    const places = editedHookPoints(edits, runner.built.tower.hookPoints)
    const controls =
      input.controls &&
      (await controlEffects(bench, input, { runner: read.length === 0 ? runner : undefined, places, output, logits, scores }))
    return {
      output,
      ...(logits && { logits }),
      ...(scores && { scores }),
      changes: read.map((hookPoint) => {
        const values = pairOf(hookPoint)
        return { hookPoint, ...vectorChanges(values.default, values.steered), ...(input.withValues && { values }) }
      }),
      perturbations: places.map(({ name }) => {
        const size = everySecond(both[sizeOf(name)]!, 1)
        return { hookPoint: name, size, relative: relativeTo(size, everySecond(both[lengthBefore(name)]!, 1)) }
      }),
      ...(controls && { controls }),
    }
  },
}

/** A row: a picture as it is, with the edits, or with random directions in their place. */
interface Variant {
  readonly image: number
  readonly kind?: 'steered' | 'control'
  /** Of a control: by hook point. */
  readonly directions?: ReadonlyMap<string, Float32Array>
}

interface Runner {
  readonly built: BuiltTower
  /** A row of outputs for each variant, in order. */
  run(variants: readonly Variant[]): Promise<Outputs>
}

async function openRunner(bench: Workbench, { pixels, edits }: SteerInput, read: readonly string[]): Promise<Runner> {
  const { model, saes } = bench
  const plain = model.build(new Set([...read, ...edits.map(({ hookPoint }) => hookPoint), ...saes.map(({ config }) => config.hookPoint)]))
  const editing = saes.map(({ key, config }, index) => ({ config, prefix: saePrefix(index), name: key }))
  const built = { ...plain, tower: { ...plain.tower, saes: editing } }
  const made: SteerGraph = steerGraph(built, edits, read)
  const coupled = edits.findIndex((edit) => techniqueOf(edit).rowsTogether?.(edit))
  if (coupled >= 0) {
    const problem = 'takes the values of other inputs; where runs stand side by side, give a stored mean or values of a cached run'
    throw new EngineError('EDIT_INVALID', { path: `edits[${coupled}]`, problem })
  }
  const start = await sharedPrefix(bench, `steer ${made.edited.structure} ${JSON.stringify(read)}`, () => made.graph)
  const begun = await start.begin({ pixels })
  const feeds = editInputs(edits, built.tower, pixels.shape[0]!)
  const places = editedHookPoints(edits, built.tower.hookPoints)
  const most = rowsAtOnce(saes.length > 0)
  return {
    built,
    run(variants) {
      const some = async (from: number, to: number) => {
        const chosen = variants.slice(from, to)
        const rows = chosen.map(({ image }) => image)
        const made = await begun.run(rows, { ...editRows(feeds, chosen), ...controlInputs(places, chosen) })
        return { ...made, ...Object.fromEntries(Object.entries(begun.shared).map(([name, value]) => [name, imageRows(value, rows)])) }
      }
      return inChunks(variants.length, some, most)
    },
  }
}

/** The feeds of each variant's picture; without edits, they apply nowhere. */
function editRows(feeds: Inputs, variants: readonly Variant[]): Record<string, Tensor> {
  const rows = variants.map(({ image }) => image)
  return Object.fromEntries(
    Object.entries(feeds).map(([name, feed]) => {
      const taken = imageRows(feed, rows)
      if (!isMask(name)) return [name, taken]
      const perRow = elementCount(taken.shape.slice(1))
      for (const [row, { kind }] of variants.entries()) if (!kind) (taken.data as Uint8Array).fill(0, row * perRow, (row + 1) * perRow)
      return [name, taken]
    }),
  )
}

const isMask = (input: string) => input.endsWith(maskInput(0).slice(maskInput(0).lastIndexOf('.')))

function controlInputs(places: readonly HookPointInfo[], variants: readonly Variant[]): Record<string, Tensor> {
  const isControl = Uint8Array.from(variants, ({ kind }) => Number(kind === 'control'))
  const directions = places.map(({ name, shape }): [string, Tensor] => {
    const length = shape.at(-1) as number
    const data = new Float32Array(variants.length * length)
    for (const [row, { directions }] of variants.entries()) if (directions) data.set(directions.get(name)!, row * length)
    return [controlDirection(name), float32([variants.length, ...shape.slice(2).map(() => 1), length], data)]
  })
  return { [controlRows]: tensor('bool', [variants.length], isControl), ...Object.fromEntries(directions) }
}

interface Steered {
  /** One that reads nothing but the output, where there is one already. */
  readonly runner: Runner | undefined
  readonly places: readonly HookPointInfo[]
  readonly output: Pair
  readonly logits: Pair | undefined
  readonly scores: Pair | undefined
}

async function controlEffects(bench: Workbench, input: SteerInput, steered: Steered): Promise<ControlEffects> {
  const { places, output, logits, scores } = steered
  const { n, seed } = input.controls!
  checkDirections(places)
  const nImages = input.pixels.shape[0]!
  const drawn = places.map(({ name, shape }, index) => {
    return [name, randomDirections(n, { seed: seed + index, length: shape.at(-1) as number, norm: 1 })] as const
  })
  const directions = Array.from({ length: n }, (_, control) => new Map(drawn.map(([name, list]) => [name, list[control]!])))
  const variants = Array.from({ length: nImages * n }, (_, at) => {
    return { image: Math.floor(at / n), kind: 'control', directions: directions[at % n]! } as const
  })
  const runner = steered.runner ?? (await openRunner(bench, input, []))
  const [outputName] = runner.built.graph.outputs as [string]
  const made = (await runner.run(variants))[outputName]!
  const kind: EffectKind = scores ? 'target' : logits ? 'divergence' : 'distance'
  const measure = measures(bench, input, steered)[kind]
  const effects = (of: Tensor<'float32'>, image: (row: number) => number) =>
    Float32Array.from(Array.from({ length: of.shape[0]! }, (_, row) => measure(rowData(of, row), image(row))).flat())
  const nMeasures = scores ? input.targets.length : 1
  return {
    kind,
    effect: float32(
      [nImages, nMeasures],
      effects(output.steered, (row) => row),
    ),
    controls: float32(
      [nImages, n, nMeasures],
      effects(made, (row) => Math.floor(row / n)),
    ),
  }
}

/** How far one output of an image is from its default. */
type Measure = (output: Float32Array, image: number) => number[]

function measures(bench: Workbench, { answers, targets }: SteerInput, { output, logits, scores }: Steered): Record<EffectKind, Measure> {
  const scoring = scoringOf(bench.model.description)
  const asRow = (data: Float32Array) => float32([1, data.length], data)
  return {
    target: (made, image) => targets.map((target, at) => scoreOf(made, target, scoring) - rowData(scores!.default, image)[at]!),
    divergence: (made, image) => {
      const after = logitsOf(asRow(made), answers!).data
      return [divergence(probabilitiesOf(rowData(logits!.default, image)), probabilitiesOf(after))]
    },
    distance: (made, image) => [distance(rowData(output.default, image), made)],
  }
}

/** @throws INPUT_INVALID where vectors are weights of a sum, or single numbers */
function checkDirections(places: readonly HookPointInfo[]): void {
  const odd = places.find(({ axes }) => axes.at(-1) === 'kPos' || axes.at(-1) === 'scale')
  if (!odd) return
  const problem = `are random directions, and "${odd.name}" has none: its last axis is ${odd.axes.at(-1)}`
  throw new EngineError('INPUT_INVALID', { path: 'controls', problem })
}

function logitsOf(output: Tensor<'float32'>, answers: NonNullable<SteerInput['answers']>): Tensor<'float32'> {
  return answers === 'classes' ? output : zeroShotScores(output, answers.embeddings, answers).logits
}

/** Of each target, `[row, target]`. */
function scoresOf(output: Tensor<'float32'>, targets: readonly Target[], scoring: Scoring): Tensor<'float32'> {
  const nRows = output.shape[0]!
  const rows = Array.from({ length: nRows }, (_, row) => targets.map((target) => scoreOf(rowData(output, row), target, scoring)))
  return float32([nRows, targets.length], Float32Array.from(rows.flat()))
}

/** As `scores` of targets.ts has it, in float64. */
function scoreOf(output: Float32Array, { direction }: Target, { normalized, scale }: Scoring): number {
  let [product, square] = [0, 0]
  for (const [at, value] of output.entries()) {
    product += value * direction[at]!
    square += value * value
  }
  return (scale * product) / (normalized ? Math.sqrt(square) : 1)
}

function distance(one: Float32Array, other: Float32Array): number {
  return Math.sqrt(one.reduce((sum, value, at) => sum + (value - other[at]!) ** 2, 0))
}

function rowData({ data, shape }: Tensor<'float32'>, row: number): Float32Array {
  const length = elementCount(shape.slice(1))
  return data.subarray(row * length, (row + 1) * length)
}

function mapPair(pair: Pair, make: (value: Tensor<'float32'>) => Tensor<'float32'>): Pair {
  return { default: make(pair.default), steered: make(pair.steered) }
}

/** Of rows in pairs, the first or the second of each. */
function everySecond(value: Tensor<'float32'>, which: 0 | 1): Tensor<'float32'> {
  return imageRows(
    value,
    Array.from({ length: value.shape[0]! / 2 }, (_, pair) => 2 * pair + which),
  )
}

/** Copies of these rows, in this order. */
function imageRows<T extends Tensor>(value: T, rows: readonly number[]): T {
  const length = elementCount(value.shape.slice(1))
  const data = allocate(value.dtype, rows.length * length) as Float32Array
  for (const [at, row] of rows.entries()) {
    data.set((value.data as Float32Array).subarray(row * length, (row + 1) * length), at * length)
  }
  return { ...value, shape: [rows.length, ...value.shape.slice(1)], data }
}

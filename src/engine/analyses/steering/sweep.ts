/**
 * Points of a sweep: pictures, each with directions added at a hook point in many strengths, and what the model then answers. Everything up to
 * the hook point is computed once for a picture; a point is a row of a batch from there on.
 */

import { EngineError } from '../../errors.js'
import { steeringVector } from '../../interventions/add.js'
import { maskOperand } from '../../interventions/selection.js'
import type { Place } from '../../interventions/technique.js'
import { elementCount, float32, type Tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { MOST_ROWS, sharedPrefix } from '../shared-prefix.js'
import { directionsInput, directionsOf, scoringOf } from '../targets.js'
import { featureWeights } from '../weights/feature-weights.js'
import type { Workbench } from '../workbench.js'
import type { SweepInput, SweepLine, SweepOutput, SweepPlace } from './sweep-contract.js'
import { doseInputs, doseShapes, readOutput, scoresGraph, scoresNames, sweepGraph } from './sweep-graph.js'
import { type RowAnswers, SweptTable } from './swept-table.js'

const BYTES_PER_NUMBER = 4

export const sweep: Analysis<SweepInput, SweepOutput> = {
  cost({ pixels, directions, lines, strengths, targets, answers }) {
    const nPoints = lines.length * strengths.length + pixels.shape[0]!
    const ofDirections = directions.reduce((sum, { vector }) => sum + vector.length, 0)
    const ofTargets = (targets.length + (Array.isArray(answers) ? answers.length : 0)) * (targets[0]?.direction.length ?? 0)
    const numbers = pixels.data.length + ofDirections + ofTargets + nPoints * (2 * targets.length + 2)
    // What comes before the hook point is run of all pictures at once.
    return { rows: Math.max(pixels.shape[0]!, Math.min(MOST_ROWS, nPoints)), bytes: numbers * BYTES_PER_NUMBER }
  },

  async run(bench, input) {
    const site = await openSite(bench, input)
    const nImages = input.pixels.shape[0]!
    const { lines, strengths } = input
    const defaults = new SweptTable(nImages, input)
    for (let from = 0; from < nImages; from += MOST_ROWS) {
      const images = Array.from({ length: Math.min(MOST_ROWS, nImages - from) }, (_, at) => from + at)
      defaults.add(await site.run(images.map((image) => ({ image }))))
    }
    const nPoints = lines.length * strengths.length
    const points = new SweptTable(nPoints, input, defaults)
    for (let from = 0; from < nPoints; from += MOST_ROWS) {
      const rows = Array.from({ length: Math.min(MOST_ROWS, nPoints - from) }, (_, at): Row => {
        const line = lines[Math.floor((from + at) / strengths.length)]!
        return { image: line.image, dose: site.doseOf(line, strengths[(from + at) % strengths.length]!) }
      })
      points.add(
        await site.run(rows),
        rows.map(({ image }) => image),
      )
    }
    return { defaults: defaults.runs(), points: points.runs() }
  },
}

/** What is added in one row: a direction, and by how much at each position and head. */
export interface Dose {
  readonly direction: Float32Array
  readonly weight: Float32Array
}

interface Row {
  readonly image: number
  /** Absent: nothing. */
  readonly dose?: Dose
}

interface Site {
  run(rows: readonly Row[]): Promise<RowAnswers>
  doseOf(line: SweepLine, strength: number): Dose
}

/** @throws HOOK_POINT_UNKNOWN, EDIT_INVALID, POSITION_OUT_OF_RANGE, INPUT_INVALID of a direction of another length */
async function openSite(bench: Workbench, input: SweepInput): Promise<Site> {
  const { model, saes } = bench
  const { hookPoint, op, targets, answers } = input
  const sae = op === 'add' ? undefined : saes[0]!.config
  const built = model.build(new Set([hookPoint, ...(sae ? [sae.hookPoint] : [])]))
  const place = placeOf(hookPoint, built.tower, model.key)
  const texts = Array.isArray(answers) ? answers : []
  const directions = directionsOf([...targets, ...texts])
  const structure = { place, ...(sae && { read: sae.hookPoint }) }
  const variants = await sharedPrefix(bench, `sweep ${JSON.stringify([hookPoint, sae?.hookPoint])}`, () => sweepGraph(built, structure))
  const scorer = await bench.ready('scores', () => scoresGraph(directions.shape[1]!, scoringOf(model.description)))
  const begun = await variants.begin({ pixels: input.pixels })
  const [output] = built.graph.outputs as [string]
  const shapes = doseShapes(place)
  checkDirections(input, shapes.direction)
  const masks = input.places.map((each, index) => maskOf(place, each, `places[${index}]`))
  const weigh = sae ? await featureWeights(bench, { input, masks, x: begun.shared[readOutput]! }) : undefined
  return {
    async run(rows) {
      const images = rows.map(({ image }) => image)
      const made = (await begun.run(images, doseTensors(rows, shapes)))[output]!
      const scored = await scorer.run({ [scoresNames.output]: made, [directionsInput]: directions })
      return { output: made, scores: scored[scoresNames.scores]! }
    },
    doseOf(line, strength) {
      const { vector } = input.directions[line.direction]!
      if (weigh) return { direction: vector, weight: weigh(line, strength) }
      return { direction: steeringVector({ op: 'add', hookPoint, vector, strength, unit: input.unit }), weight: masks[line.place]! }
    },
  }
}

function placeOf(hookPoint: string, tower: Place['tower'], model: string): Place {
  const found = tower.hookPoints.find(({ name }) => name === hookPoint)
  if (!found) throw new EngineError('HOOK_POINT_UNKNOWN', { hookPoint, model, known: tower.hookPoints.map(({ name }) => name) })
  return { hookPoint: found, tower }
}

/** 1 where a direction is added. */
function maskOf(place: Place, { positions, heads }: SweepPlace, path: string): Float32Array {
  return Float32Array.from(
    maskOperand({ hookPoint: place.hookPoint.name, op: 'zero', positions, ...(heads && { heads }) }, place, path).data,
  )
}

function checkDirections({ directions, hookPoint }: SweepInput, shape: readonly number[]): void {
  const lengths = [shape.at(-1)!, elementCount(shape)]
  const odd = directions.findIndex(({ vector }) => !lengths.includes(vector.length))
  if (odd < 0) return
  const problem = `has ${directions[odd]!.vector.length} numbers; ${hookPoint} needs ${lengths[0]}, the length of its last axis.`
  throw new EngineError('INPUT_INVALID', { path: `directions[${odd}]`, problem })
}

function doseTensors(rows: readonly Row[], shapes: ReturnType<typeof doseShapes>): Record<string, Tensor<'float32'>> {
  const lengths = { direction: elementCount(shapes.direction), weight: elementCount(shapes.weight) }
  const data = { direction: new Float32Array(rows.length * lengths.direction), weight: new Float32Array(rows.length * lengths.weight) }
  for (const [row, { dose }] of rows.entries()) {
    if (!dose) continue
    // one vector for all heads, or one for each
    for (let at = 0; at < lengths.direction; at += dose.direction.length) data.direction.set(dose.direction, row * lengths.direction + at)
    data.weight.set(dose.weight, row * lengths.weight)
  }
  return {
    [doseInputs.direction]: float32([rows.length, ...shapes.direction], data.direction),
    [doseInputs.weight]: float32([rows.length, ...shapes.weight], data.weight),
  }
}

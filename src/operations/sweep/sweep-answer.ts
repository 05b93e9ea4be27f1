/** What a sweep found, in the forms in which it is answered: as JSON, as a table with a row for each point, as a plot. */

import { curveNumbers, curvesOf } from '../../engine/analyses/steering/sweep-curves.js'
import type { SweepResults } from '../../engine/analyses/steering/sweep-results.js'
import type { PositionSelector } from '../../engine/interventions/edit.js'
import type { Column } from '../../engine/io/arrow-table.js'
import { type DosePanel, plotDoseResponse } from '../../engine/plots/dose-response.js'
import { float32 } from '../../engine/tensor.js'
import type { ResolvedSweep } from './resolve-sweep.js'

/** What is not finite has no place in JSON. */
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)
const finites = (values: Iterable<number>) => Array.from(values, finite)

/** The fields of `sweptFields`, but for the estimate. */
export function sweptAnswer(results: SweepResults, sweep: ResolvedSweep) {
  const { plan } = results
  const curves = curvesOf(results).map(({ place, probabilities, controls, ...curve }) => ({
    direction: curve.direction,
    positions: place,
    target: curve.target,
    default: finite(curve.default),
    scores: finites(curve.scores),
    probabilities: probabilities ? finites(probabilities) : null,
    slope: curve.slope,
    halfEffectStrength: curve.halfEffectStrength,
    largestChange: finite(curve.largestChange),
    controls: controls
      ? {
          low: finites(controls.low),
          median: finites(controls.median),
          high: finites(controls.high),
          beaten: finites(controls.beaten),
          shareBeaten: finite(controls.shareBeaten),
        }
      : null,
  }))
  return {
    model: sweep.model.id,
    op: plan.op,
    unit: sweep.unitName,
    strengths: [...plan.strengths],
    targets: plan.targets.map(({ label }) => label),
    directions: plan.directions.map(({ hookPoint }, index) => ({ label: sweep.labels[index]!, hookPoint, norm: sweep.norms[index]! })),
    positions: plan.places.map(({ positions }) => inWords(positions)),
    controls: plan.nControls,
    seed: plan.seed,
    curves,
    collateral: collateralOf(results),
  }
}

const MOST_INDICES = 6

/** `cls`, `[1, 3]`, `24 positions` */
function inWords(positions: PositionSelector): string {
  if (typeof positions === 'string') return positions
  const chosen = positions.flatMap((each, index) => (each === true ? [index] : each === false ? [] : [each]))
  return chosen.length <= MOST_INDICES ? `[${chosen.join(', ')}]` : `${chosen.length} positions`
}

export type SweptAnswer = ReturnType<typeof sweptAnswer>

function collateralOf(results: SweepResults) {
  const found = results.collateral()
  if (!found) return null
  const { directions, places, strengths } = results.plan
  return directions.flatMap((_, direction) =>
    places.map((_, place) => {
      const first = results.runOf(0, direction, place)
      const of = (values: Float64Array | undefined) => (values ? finites(values.subarray(first, first + strengths.length)) : null)
      return { direction, positions: place, scoreChange: of(found.scoreChange)!, divergence: of(found.divergence), flips: of(found.flips) }
    }),
  )
}

/** Of each image: axes image, direction, positions, strength, target. */
export function sweptTensors(results: SweepResults) {
  const { nImages, directions, places, strengths, targets } = results.plan
  const curve = [nImages, directions.length, places.length]
  const { scores, probabilities, divergences } = results.points
  const numbers = eachCurve(results)
  return {
    defaultScores: float32([nImages, targets.length], results.defaults.scores.subarray(0, nImages * targets.length)),
    scores: float32([...curve, strengths.length, targets.length], scores),
    probabilities: probabilities ? float32([...curve, strengths.length, targets.length], probabilities) : null,
    divergences: divergences ? float32([...curve, strengths.length], divergences) : null,
    slopes: float32(
      [...curve, targets.length],
      numbers.map(({ slope }) => slope ?? Number.NaN),
    ),
    halfEffectStrengths: float32(
      [...curve, targets.length],
      numbers.map(({ halfEffectStrength }) => halfEffectStrength ?? Number.NaN),
    ),
  }
}

function eachCurve(results: SweepResults) {
  const { nImages, directions, places, targets } = results.plan
  return Array.from({ length: nImages }, (_, image) =>
    directions.map((_, direction) =>
      places.map((_, place) => targets.map((_, target) => curveNumbers(results, { image, direction, place, target }))),
    ),
  ).flat(3)
}

export type SweptTensors = ReturnType<typeof sweptTensors>

/** A row for each image, direction, choice of positions, strength and target, in this order. */
export function sweptTable(
  { scores, probabilities, divergences, defaultScores }: SweptTensors,
  { strengths, ...names }: TableNames,
): Record<string, Column> {
  const [nImages, nDirections, nPlaces, nStrengths, nTargets] = scores.shape as [number, number, number, number, number]
  const lengths = [nImages, nDirections, nPlaces, nStrengths, nTargets]
  const index = (axis: number) => {
    const inner = lengths.slice(axis + 1).reduce((product, length) => product * length, 1)
    return Int32Array.from({ length: scores.data.length }, (_, row) => Math.floor(row / inner) % lengths[axis]!)
  }
  const [image, direction, positions, strength, target] = lengths.map((_, axis) => index(axis)) as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ]
  const before = Float32Array.from(image, (of, row) => defaultScores.data[of * nTargets + target[row]!]!)
  return {
    image: { values: image },
    direction: { values: direction, names: names.directions },
    positions: { values: positions, names: names.positions },
    strength: { values: Float32Array.from(strength, (of) => strengths[of]!) },
    target: { values: target, names: names.targets },
    score: { values: scores.data },
    change: { values: scores.data.map((score, row) => score - before[row]!) },
    ...(probabilities && { probability: { values: probabilities.data } }),
    ...(divergences && { divergence: { values: Float32Array.from(target, (_, row) => divergences.data[Math.floor(row / nTargets)]!) } }),
  }
}

export interface TableNames {
  readonly strengths: readonly number[]
  readonly directions: readonly string[]
  readonly positions: readonly string[]
  readonly targets: readonly string[]
}

const MOST_PANELS = 24
const unitWords: Readonly<Record<string, string>> = {
  raw: 'strength',
  norm: 'strength (length of what is added)',
  maxActivation: 'strength (multiples of the largest activation)',
}

/** A panel for each target and choice of positions, of the first 24. */
export function sweptPlot({ curves, strengths, targets, directions, positions, unit, controls, model }: PlottedSweep): string {
  const number = (value: number | null) => value ?? Number.NaN
  const panels = targets.flatMap((label, target) =>
    positions.map((where, place): DosePanel => {
      const own = curves.filter((curve) => curve.target === target && curve.positions === place)
      return {
        title: positions.length > 1 ? `${label} (${where})` : label,
        default: number(own[0]!.default),
        lines: own.map(({ scores }) => scores.map(number)),
        bands: own.flatMap((curve) =>
          curve.controls ? [{ low: curve.controls.low.map(number), high: curve.controls.high.map(number) }] : [],
        ),
      }
    }),
  )
  const shown = panels.length > MOST_PANELS ? `, the first ${MOST_PANELS} of ${panels.length} panels` : ''
  return plotDoseResponse(panels.slice(0, MOST_PANELS), {
    title: `Dose and response in ${model}${shown}`,
    strengths,
    x: unitWords[unit] ?? 'strength',
    y: 'score',
    legend: directions.map(({ label, hookPoint }) => `${label} at ${hookPoint}`),
    band: `random directions of equal norm, 5 % to 95 % of ${controls}`,
  })
}

export type PlottedSweep = Pick<
  SweptAnswer,
  'curves' | 'strengths' | 'targets' | 'directions' | 'positions' | 'unit' | 'controls' | 'model'
>

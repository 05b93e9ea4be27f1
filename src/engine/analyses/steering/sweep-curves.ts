/** Dose-response curves: of each direction and place, for each target, the mean over the pictures, and what random directions do instead. */

import { halfEffectStrength, largestChange, quantile, type Response, shareBeaten, slopeAtZero, withOrigin } from './dose-response.js'
import type { SweepResults } from './sweep-results.js'

/** Of random directions of equal norm, each the mean over the pictures; of each strength. */
export interface ControlBand {
  /** Quantiles 0.05, 0.5 and 0.95 of their scores. */
  readonly low: readonly number[]
  readonly median: readonly number[]
  readonly high: readonly number[]
  /** The share of them that change the score less, in either direction. */
  readonly beaten: readonly number[]
  /** The same of the largest changes over all strengths. */
  readonly shareBeaten: number
}

export interface SweepCurve {
  readonly direction: number
  readonly place: number
  readonly target: number
  /** Of the pictures as they are. */
  readonly default: number
  readonly scores: readonly number[]
  /** Of a target that is one of the answers. */
  readonly probabilities?: readonly number[]
  /** Per unit of strength. */
  readonly slope: number | null
  readonly halfEffectStrength: number | null
  /** The largest, in either direction. */
  readonly largestChange: number
  readonly controls?: ControlBand
}

const BAND = [0.05, 0.5, 0.95] as const

/** Directions in order, of each its places, of each the targets. */
export function curvesOf(results: SweepResults): SweepCurve[] {
  const { directions, places, targets } = results.plan
  return directions.flatMap((_, direction) =>
    places.flatMap((_, place) => targets.map((_, target) => curveOf(results, { direction, place, target }))),
  )
}

/** Slope and half-effect strength of one picture's curve. */
export function curveNumbers(results: SweepResults, { image, direction, place, target }: CurveKey & { image: number }) {
  const scores = scoresOf(results, { image, direction, place, target })
  return numbersOf(results, scores, results.defaults.scores[image * results.plan.targets.length + target]!)
}

interface CurveKey {
  readonly direction: number
  readonly place: number
  readonly target: number
}

function curveOf(results: SweepResults, key: CurveKey): SweepCurve {
  const { nImages, targets, strengths } = results.plan
  const images = Array.from({ length: nImages }, (_, image) => image)
  const before = meanOf(images.map((image) => results.defaults.scores[image * targets.length + key.target]!))
  const scores = meanCurve(
    images.map((image) => scoresOf(results, { image, ...key })),
    strengths.length,
  )
  const controls = controlBand(results, { key, scores, before })
  const { probabilities } = results.points
  const isAnswer = probabilities !== undefined && targets[key.target]!.answer !== undefined
  return {
    ...key,
    default: before,
    scores,
    ...(isAnswer && {
      probabilities: meanCurve(
        images.map((image) =>
          ofTarget(results, probabilities, { run: results.runOf(image, key.direction, key.place), target: key.target }),
        ),
        strengths.length,
      ),
    }),
    ...numbersOf(results, scores, before),
    largestChange: largestChange(scores.map((score) => score - before)),
    ...(controls && { controls }),
  }
}

function numbersOf({ plan: { op, strengths } }: SweepResults, scores: readonly number[], before: number) {
  const measured = strengths.map((strength, index): Response => ({ strength, change: scores[index]! - before }))
  const curve = withOrigin(measured, op !== 'feature-set')
  return { slope: slopeAtZero(curve), halfEffectStrength: halfEffectStrength(curve) }
}

function controlBand(
  results: SweepResults,
  { key: { direction, place, target }, scores, before }: { key: CurveKey; scores: readonly number[]; before: number },
): ControlBand | undefined {
  const { sites, strengths, targets, nImages } = results.plan
  const site = sites.findIndex(({ own }) => own.includes(direction))
  const { own, controls } = sites[site]!
  const compared = controls[own.indexOf(direction)]!
  if (compared.length === 0) return undefined
  const curves = compared.map((control) => {
    const ofImages = Array.from({ length: nImages }, (_, image) => {
      const first = results.controlAt(site, { image, control: control - own.length, place })
      return strengths.map((_, strength) => results.controls[site]![first + strength * targets.length + target]!)
    })
    return meanCurve(ofImages, strengths.length)
  })
  const sorted = strengths.map((_, strength) => Float64Array.from(curves, (curve) => curve[strength]!).sort())
  const [low, median, high] = BAND.map((share) => sorted.map((values) => quantile(values, share))) as [number[], number[], number[]]
  const beaten = scores.map((score, strength) =>
    shareBeaten(
      score - before,
      curves.map((curve) => curve[strength]! - before),
    ),
  )
  const most = (curve: readonly number[]) => largestChange(curve.map((score) => score - before))
  return { low, median, high, beaten, shareBeaten: shareBeaten(most(scores), curves.map(most)) }
}

function scoresOf(results: SweepResults, { image, direction, place, target }: CurveKey & { image: number }): number[] {
  return ofTarget(results, results.points.scores, { run: results.runOf(image, direction, place), target })
}

function ofTarget({ plan }: SweepResults, values: Float32Array, { run, target }: { run: number; target: number }): number[] {
  return plan.strengths.map((_, strength) => values[(run + strength) * plan.targets.length + target]!)
}

function meanCurve(curves: readonly (readonly number[])[], length: number): number[] {
  return Array.from({ length }, (_, at) => meanOf(curves.map((curve) => curve[at]!)))
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

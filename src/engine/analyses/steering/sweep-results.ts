/**
 * What the pieces of a sweep gave, put together. Axes of everything that is kept: image, direction, place, strength, target, in this order, with
 * directions as the request has them.
 */

import type { SweepOutput, SweptRuns } from './sweep-contract.js'
import { linesOf, type SweepPiece, type SweepPlan } from './sweep-plan.js'

/** Over the pictures on which only collateral is measured, `[direction, place, strength]`. */
export interface Collateral {
  /** Mean over pictures and targets of the absolute change of the score. */
  readonly scoreChange: Float64Array
  /** Mean over pictures of the divergence, in nats; with answers. */
  readonly divergence?: Float64Array
  /** Share of the pictures whose most probable answer is another; with answers. */
  readonly flips?: Float64Array
}

export class SweepResults {
  readonly plan: SweepPlan
  /** Of the pictures as they are, `[image, target]`; those for collateral come after the others. */
  readonly defaults: SweptRuns
  /** `[image, direction, place, strength, target]`, divergences and best without targets. */
  readonly points: SweptRuns
  /** Of each site, `[image, random direction, place, strength, target]`. */
  readonly controls: readonly Float32Array[]
  readonly #collateral: { readonly scoreChange: Float64Array; readonly divergence: Float64Array; readonly flips: Float64Array }

  constructor(plan: SweepPlan) {
    const { directions, places, strengths, targets, answers, nImages, nCollateral, sites } = plan
    const nCurves = directions.length * places.length * strengths.length
    const empty = (nRuns: number): SweptRuns => ({
      scores: new Float32Array(nRuns * targets.length),
      ...(answers && {
        probabilities: new Float32Array(nRuns * targets.length),
        divergences: new Float32Array(nRuns),
        best: new Int32Array(nRuns),
      }),
    })
    this.plan = plan
    this.defaults = empty(nImages + nCollateral)
    this.points = empty(nImages * nCurves)
    const perControl = nImages * places.length * strengths.length * targets.length
    this.controls = sites.map((site) => new Float32Array((site.directions.length - site.own.length) * perControl))
    this.#collateral = {
      scoreChange: new Float64Array(nCurves),
      divergence: new Float64Array(nCurves),
      flips: new Float64Array(nCurves),
    }
  }

  /** In any order; a piece that comes twice would count twice on collateral. */
  add(piece: SweepPiece, { defaults, points }: SweepOutput): void {
    const { nImages, strengths, sites } = this.plan
    const [firstImage, endImage] = piece.images
    for (let image = firstImage; image < endImage; image++)
      this.#copy(this.defaults, image, { from: defaults, run: image - firstImage, n: 1 })
    const { own } = sites[piece.site]!
    let run = 0
    for (const { image, direction, place } of linesOf(this.plan, piece)) {
      const taken = { from: points, run, n: strengths.length }
      run += strengths.length
      if (direction >= own.length) this.#addControl(piece.site, { image, control: direction - own.length, place }, taken)
      else if (image < nImages) this.#copy(this.points, this.runOf(image, own[direction]!, place), taken)
      else this.#addCollateral({ image, direction: own[direction]!, place }, taken)
    }
  }

  /** Of a curve its first run in `points`. */
  runOf(image: number, direction: number, place: number): number {
    const { directions, places, strengths } = this.plan
    return ((image * directions.length + direction) * places.length + place) * strengths.length
  }

  /** Of a random direction its first score in `controls`. */
  controlAt(site: number, { image, control, place }: { image: number; control: number; place: number }): number {
    const { sites, places, strengths, targets } = this.plan
    const nControls = sites[site]!.directions.length - sites[site]!.own.length
    return ((image * nControls + control) * places.length + place) * strengths.length * targets.length
  }

  /** Undefined where there are no pictures for it. */
  collateral(): Collateral | undefined {
    const { nCollateral, answers } = this.plan
    if (nCollateral === 0) return undefined
    const mean = (sums: Float64Array) => sums.map((sum) => sum / nCollateral)
    const { scoreChange, divergence, flips } = this.#collateral
    return { scoreChange: mean(scoreChange), ...(answers && { divergence: mean(divergence), flips: mean(flips) }) }
  }

  #copy(to: SweptRuns, at: number, { from, run, n }: Taken): void {
    const nTargets = this.plan.targets.length
    to.scores.set(from.scores.subarray(run * nTargets, (run + n) * nTargets), at * nTargets)
    to.probabilities?.set(from.probabilities!.subarray(run * nTargets, (run + n) * nTargets), at * nTargets)
    to.divergences?.set(from.divergences!.subarray(run, run + n), at)
    to.best?.set(from.best!.subarray(run, run + n), at)
  }

  #addControl(site: number, where: { image: number; control: number; place: number }, { from, run, n }: Taken): void {
    const nTargets = this.plan.targets.length
    this.controls[site]!.set(from.scores.subarray(run * nTargets, (run + n) * nTargets), this.controlAt(site, where))
  }

  #addCollateral({ image, direction, place }: { image: number; direction: number; place: number }, { from, run, n }: Taken): void {
    const nTargets = this.plan.targets.length
    const first = this.runOf(0, direction, place)
    const { scoreChange, divergence, flips } = this.#collateral
    for (let point = 0; point < n; point++) {
      let changed = 0
      for (let target = 0; target < nTargets; target++) {
        changed += Math.abs(from.scores[(run + point) * nTargets + target]! - this.defaults.scores[image * nTargets + target]!)
      }
      scoreChange[first + point]! += changed / nTargets
      if (!from.best) continue
      divergence[first + point]! += from.divergences![run + point]!
      if (from.best[run + point] !== this.defaults.best![image]) flips[first + point]! += 1
    }
  }
}

interface Taken {
  readonly from: SweptRuns
  /** Its first run. */
  readonly run: number
  readonly n: number
}

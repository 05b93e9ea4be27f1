/** That a sweep in pieces is the sweep: with scores that are known of each point instead of a model's. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SweepOutput } from '../../../src/engine/analyses/steering/sweep-contract.js'
import { curvesOf } from '../../../src/engine/analyses/steering/sweep-curves.js'
import {
  linesOf,
  nPoints,
  nPointsOf,
  piecesOf,
  planSweep,
  type SweepPiece,
  type SweepPlan,
} from '../../../src/engine/analyses/steering/sweep-plan.js'
import { SweepResults } from '../../../src/engine/analyses/steering/sweep-results.js'

const size = fc.record({
  sites: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 5 }),
  nPlaces: fc.integer({ min: 1, max: 3 }),
  nStrengths: fc.integer({ min: 1, max: 4 }),
  nImages: fc.integer({ min: 1, max: 4 }),
  nCollateral: fc.integer({ min: 0, max: 3 }),
  nControls: fc.integer({ min: 0, max: 4 }),
  points: fc.integer({ min: 1, max: 60 }),
  images: fc.integer({ min: 1, max: 4 }),
})

/** Direction i has the norm i + 1, so that each has random ones of its own. */
function planOf({
  sites,
  nPlaces,
  nStrengths,
  nImages,
  nCollateral,
  nControls,
}: typeof size extends fc.Arbitrary<infer T> ? T : never): SweepPlan {
  return planSweep({
    ...{ op: 'add', unit: 'raw', nImages, nCollateral, nControls, seed: 1, answers: 'classes' },
    directions: sites.map((site, index) => ({ hookPoint: `site ${site}`, vector: Float32Array.of(index + 1, 0) })),
    places: Array.from({ length: nPlaces }, () => ({ positions: 'all' as const })),
    strengths: Array.from({ length: nStrengths }, (_, at) => at + 1),
    targets: ['a', 'b'].map((label, answer) => ({ label, answer, direction: Float32Array.of(1) })),
  })
}

const before = (image: number, target: number) => 1000 * image + target
/** Of a point, by the vector that was added: whole numbers that no two points share. */
const changeOf = (vector: Float32Array, { place, strength, target }: { place: number; strength: number; target: number }) =>
  (Math.round(vector[0]! * 8) + 64) * 0.125 + 100 * place + 10 * strength + 5 * target

function answerOf(plan: SweepPlan, piece: SweepPiece): SweepOutput {
  const images = Array.from({ length: piece.images[1] - piece.images[0] }, (_, at) => piece.images[0] + at)
  const runs = [...linesOf(plan, piece)].flatMap(({ image, direction, place }) =>
    plan.strengths.map((strength) => ({ image, vector: plan.sites[piece.site]!.directions[direction]!.vector, place, strength })),
  )
  const of = (scores: number[], n: number) => ({
    scores: Float32Array.from(scores),
    probabilities: Float32Array.from(scores),
    divergences: new Float32Array(n).fill(2),
    best: new Int32Array(n),
  })
  return {
    defaults: of(
      images.flatMap((image) => [0, 1].map((target) => before(image, target))),
      images.length,
    ),
    points: of(
      runs.flatMap(({ image, vector, ...at }) => [0, 1].map((target) => before(image, target) + changeOf(vector, { ...at, target }))),
      runs.length,
    ),
  }
}

describe('a sweep in pieces', () => {
  test('has every point once, in pieces of the size that was asked for', () => {
    fc.assert(
      fc.property(size, (given) => {
        const plan = planOf(given)
        const pieces = [...piecesOf(plan, given)]
        const seen = pieces.flatMap((piece) => [...linesOf(plan, piece)].map((line) => JSON.stringify([piece.site, line])))
        expect(new Set(seen).size).toBe(seen.length)
        expect(seen.length * plan.strengths.length).toBe(nPoints(plan))
        for (const piece of pieces) {
          expect(nPointsOf(plan, piece)).toBeLessThanOrEqual(Math.max(given.points, plan.strengths.length))
          expect(piece.images[1] - piece.images[0]).toBeLessThanOrEqual(given.images)
        }
      }),
    )
  })

  test('puts each number where it belongs', () => {
    fc.assert(
      fc.property(size, (given) => {
        const plan = planOf(given)
        const results = new SweepResults(plan)
        for (const piece of piecesOf(plan, given)) results.add(piece, answerOf(plan, piece))
        for (const curve of curvesOf(results)) {
          const { vector, hookPoint } = plan.directions[curve.direction]!
          const { place, target } = curve
          for (const [at, strength] of plan.strengths.entries()) {
            const change = changeOf(vector, { place, strength, target })
            expect(curve.scores[at]! - curve.default).toBeCloseTo(change, 2)
            const site = plan.sites.find((each) => each.hookPoint === hookPoint)!
            const controls = site.controls[site.own.indexOf(curve.direction)]!.map((control) => site.directions[control]!.vector)
            expect(controls).toHaveLength(given.nControls)
            for (const control of controls) expect(Math.hypot(...control)).toBeCloseTo(vector[0]!, 4)
            if (!curve.controls) continue
            const changes = controls.map((control) => changeOf(control, { place, strength, target }))
            const beaten = changes.filter((each) => Math.abs(each) < Math.abs(change)).length / changes.length
            expect(curve.controls.beaten[at]).toBeCloseTo(beaten, 9)
            expect(curve.controls.median[at]! - curve.default).toBeGreaterThanOrEqual(Math.min(...changes) - 1e-2)
          }
        }
        const collateral = results.collateral()
        expect(collateral === undefined).toBe(given.nCollateral === 0)
        if (!collateral) return
        for (const [direction, { vector }] of plan.directions.entries()) {
          const at = results.runOf(0, direction, 0)
          const changes = [0, 1].map((target) => changeOf(vector, { place: 0, strength: 1, target }))
          expect(collateral.scoreChange[at]).toBeCloseTo((changes[0]! + changes[1]!) / 2, 2)
          expect(collateral.divergence![at]).toBe(2)
          expect(collateral.flips![at]).toBe(0)
        }
      }),
    )
  })
})

/** The best of many scored features, a page at a time. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { before, bestHits, type Hit, type Scored } from '../../../src/operations/search/best-hits.js'

// few values, so that many are equal
const score = fc.oneof(fc.constant(Number.NaN), fc.integer({ min: -2, max: 2 }))
const lists: fc.Arbitrary<Scored[]> = fc
  .uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.array(score, { maxLength: 20 })), { selector: ([sae]) => sae })
  .map((all) => all.map(([sae, scores]) => ({ sae, scores: Float32Array.from(scores) })))

const sorted = (all: readonly Scored[]): Hit[] =>
  all
    .flatMap(({ sae, scores }) => Array.from(scores, (value, index) => ({ sae, index, score: value })))
    .filter((hit) => !Number.isNaN(hit.score))
    .sort((a, b) => (before(a, b) ? -1 : 1))

test('pages of any size are together what is scored, in order, each once', () => {
  fc.assert(
    fc.property(lists, fc.integer({ min: 1, max: 7 }), (all, limit) => {
      const seen: Hit[] = []
      for (;;) {
        const { best, total } = bestHits(all, { limit, after: seen.at(-1) })
        expect(total).toBe(sorted(all).length)
        expect(best.length).toBeLessThanOrEqual(limit)
        if (best.length === 0) break
        seen.push(...best)
      }
      expect(seen).toEqual(sorted(all))
    }),
  )
})

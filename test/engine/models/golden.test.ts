import { describe, expect, test } from 'vitest'
import { loadModel } from '../../../src/engine/models/load.js'
import { backends, expectedOf, fixtureNames, folderOf, relativeDifference, runAll, towersOf } from './fixtures.js'

const TOLERANCE = 1e-5

/** Hook points that a fixture's values were made with, beyond those that are always there. */
const wantedBy = (expected: ReadonlyMap<string, unknown>, tower: string) =>
  new Set(
    [...expected.keys()]
      .filter((key) => key.startsWith(`${tower}/`))
      .map((key) => key.slice(tower.length + 1))
      .filter((name) => /hook_(attn_in|[qkv]_input|result|mlp_in)$/.test(name)),
  )

describe.each(fixtureNames)('%s', async (name) => {
  const model = await loadModel(folderOf(name))
  const expected = await expectedOf(name)

  describe.each(towersOf(model))('%s tower', (towerName, tower) => {
    test.each(backends)('agrees with the reference library at every hook point (%s)', async (_, backend) => {
      const input = towerName === 'vision' ? 'pixels' : 'tokens'
      const inputs = { [input]: expected.get(`${towerName}/${input}`)! }
      const values = await runAll(backend, tower, inputs, wantedBy(expected, towerName))
      const differences = [...values]
        .filter(([hook]) => expected.has(`${towerName}/${hook}`))
        .map(([hook, value]) => ({ hook, value, difference: relativeDifference(value, expected.get(`${towerName}/${hook}`)!) }))
      const first = differences.find(({ difference }) => !(difference <= TOLERANCE))
      const report =
        first &&
        `first difference in firing order: ${first.hook} by ${first.difference} of its scale; shapes [${first.value.shape}] and [${expected.get(`${towerName}/${first.hook}`)!.shape}]`
      expect(report).toBeUndefined()
      // Every value that the reference recorded was compared.
      const recorded = [...expected.keys()].filter((key) => key.startsWith(`${towerName}/`) && key !== `${towerName}/${input}`)
      expect(differences.map(({ hook }) => `${towerName}/${hook}`).sort()).toEqual(recorded.sort())
    })
  })
})

/** Analyses whose caller has given up: they end before their next run of a program. */

import { describe, expect, test } from 'vitest'
import type { Analysis } from '../../../src/engine/analyses/analysis.js'
import { matchDecoders } from '../../../src/engine/analyses/compare/match-decoders.js'
import { patching } from '../../../src/engine/analyses/patching/patching.js'
import { weightCircuits } from '../../../src/engine/analyses/weights/weight-circuits.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { reference } from '../each-backend.js'
import { visionTower } from '../interventions/tiny-towers.js'
import { goldenSae } from './compare-bench.js'
import { pixels, tinyBench } from './tiny-bench.js'

const tower = visionTower()

/** A backend that counts runs, and calls the work off during the first. */
async function impatient() {
  const backend = await reference.create()
  const caller = new AbortController()
  let nRuns = 0
  const counting: Backend = {
    ...backend,
    async compile(graph, options) {
      const program = await backend.compile(graph, options)
      return {
        ...program,
        run: (call) => {
          nRuns++
          caller.abort(new Error('called off'))
          return program.run(call)
        },
      }
    },
  }
  return { backend: counting, caller, nRuns: () => nRuns }
}

describe('an analysis that is called off', () => {
  test.each<[string, Analysis<never, unknown>, unknown]>([
    ['the comparison of two decoders', matchDecoders, { width: 40 }],
    [
      'patching',
      patching,
      {
        ...{ clean: pixels(tower, [1]), corrupted: pixels(tower, [2]), direction: 'denoise', source: { kind: 'other' } },
        ...{ grid: { over: 'heads' }, metric: { kind: 'cosine' }, methods: ['patching'] },
      },
    ],
  ])('ends soon: %s', async (_what, analysis, input) => {
    const { backend, caller, nRuns } = await impatient()
    const saes = [await goldenSae('relu'), await goldenSae('gated')]
    const { bench } = await tinyBench(backend, { tower, saes, signal: caller.signal })
    await expect(analysis.run(bench, input as never)).rejects.toThrow('called off')
    expect(nRuns()).toBe(1)
  })

  test('ends between two heads, too, where no program runs', async () => {
    const caller = new AbortController()
    const { bench } = await tinyBench(await reference.create(), { tower, signal: caller.signal })
    caller.abort(new Error('called off'))
    const { dHead, dModel, nHeads } = tower.config
    const layers = [{ layer: 0, heads: [0, 1] }]
    await expect(weightCircuits.run(bench, { layers, dHead, dModel, nHeads })).rejects.toThrow('called off')
  })

  test('that nobody calls off answers', async () => {
    const { bench } = await tinyBench(await reference.create(), { tower, signal: new AbortController().signal })
    const { dHead, dModel, nHeads } = tower.config
    expect(await weightCircuits.run(bench, { layers: [{ layer: 0, heads: [0] }], dHead, dModel, nHeads })).toHaveLength(1)
  })
})

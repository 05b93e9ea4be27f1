/**
 * What analyses say that they take, against the tensors that are alive at once when they run: of each program's run those of its graph, in the
 * order of its nodes, and what earlier runs made that later ones are still given.
 */

import { expect, test } from 'vitest'
import type { Analysis } from '../../../src/engine/analyses/analysis.js'
import { headSums } from '../../../src/engine/analyses/attention/head-sums.js'
import { directLogitAttribution, numbersOfImage } from '../../../src/engine/analyses/attribution/direct-logit-attribution.js'
import { logitLens } from '../../../src/engine/analyses/lens/logit-lens.js'
import { patching } from '../../../src/engine/analyses/patching/patching.js'
import { pathPatching } from '../../../src/engine/analyses/patching/path-patching.js'
import { steer } from '../../../src/engine/analyses/steering/steer.js'
import { sweep } from '../../../src/engine/analyses/steering/sweep.js'
import type { Backend } from '../../../src/engine/backends/backend.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { analysisBytes } from '../../../src/engine/host/analysis-bytes.js'
import { footprint, rowSize } from '../../../src/engine/host/footprint.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { pixels, tinyBench } from '../analyses/tiny-bench.js'
import { reference } from '../each-backend.js'
import { visionConfig, visionTower } from '../interventions/tiny-towers.js'

/** One program's run. */
interface Run {
  /** Inputs included. */
  readonly bytes: number
  readonly given: ReadonlySet<ArrayBufferLike>
  readonly made: ReadonlyMap<ArrayBufferLike, number>
}

/** A backend that writes down what its runs hold. */
async function recording(): Promise<{ backend: Backend; runs: Run[] }> {
  const backend = await reference.create()
  const runs: Run[] = []
  const compile: Backend['compile'] = async (graph, options) => {
    const program = await backend.compile(graph, options)
    return {
      ...program,
      async run(call) {
        const outputs = await program.run(call)
        const { workingBytesPerRow, outputBytesPerRow } = footprint(graph, inferTypes(graph), lengthsOf(graph, call.inputs))
        runs.push({
          bytes: workingBytesPerRow + outputBytesPerRow,
          given: new Set(Object.values(call.inputs).map(({ data }) => data.buffer)),
          made: new Map(Object.values(outputs).map(({ data }) => [data.buffer, data.byteLength])),
        })
        return outputs
      },
    }
  }
  return { backend: { ...backend, compile }, runs }
}

/** What the symbols of a graph's inputs stand for in a run. */
function lengthsOf({ inputs }: Graph, fed: Readonly<Record<string, Tensor>>): Record<string, number> {
  const symbols = Object.entries(inputs).flatMap(([name, { shape }]) =>
    shape.flatMap((dim, axis): [string, number][] => (typeof dim === 'string' ? [[dim, fed[name]!.shape[axis]!]] : [])),
  )
  return Object.fromEntries(symbols)
}

function peakOf(runs: readonly Run[]): number {
  const peaks = runs.map(({ bytes, given }, at) => {
    let held = 0
    for (const { made } of runs.slice(0, at)) {
      for (const [buffer, size] of made) {
        const isNeeded = runs.slice(at + 1).some((later) => later.given.has(buffer))
        if (isNeeded && !given.has(buffer)) held += size
      }
    }
    return bytes + held
  })
  return Math.max(...peaks)
}

const config: Partial<VisionConfig> = { nLayers: 4, dModel: 24, nHeads: 4, dHead: 6, dMlp: 96 }
const tower = visionTower([], { ...visionConfig, ...config })
const { nLayers, dModel, nHeads } = tower.config as VisionConfig
const nPos = 6
const seeds = (n: number, from = 0) => Array.from({ length: n }, (_, at) => from + at)
const dOut = tower.graph.outputs.map((output) => inferTypes(tower.graph).get(output)!.shape[1] as number)[0]!
const target = { label: 'first', direction: Float32Array.from({ length: dOut }, (_, at) => Number(at === 0)) }
const post = (layer: number) => `blocks.${layer}.hook_resid_post`
const pairs = (n: number) => ({
  clean: pixels(tower, seeds(n)),
  corrupted: pixels(tower, seeds(n, n)),
  direction: 'denoise' as const,
  source: { kind: 'other' as const },
})
const vector = Float32Array.from({ length: dModel }, (_, at) => at)
const everyLayer = Array.from({ length: nLayers }, (_, layer) => layer)

type Case = readonly [what: string, analysis: Analysis<never, unknown>, input: unknown]

const sweepOf = (nImages: number, nStrengths: number, layer: number): Case => [
  `a sweep of ${nStrengths} strengths over ${nImages} pictures at layer ${layer}`,
  sweep,
  {
    ...{ pixels: pixels(tower, seeds(nImages)), hookPoint: post(layer), op: 'add', unit: 'raw', directions: [{ vector }] },
    places: [{ positions: 'all' }],
    lines: seeds(nImages).map((image) => ({ image, direction: 0, place: 0 })),
    strengths: seeds(nStrengths),
    targets: [target],
  },
]
const steerOf = (nImages: number, nControls: number): Case => [
  `steering of ${nImages} pictures with ${nControls} random directions`,
  steer,
  {
    ...{ pixels: pixels(tower, seeds(nImages)), read: [], withValues: false, targets: [target], readBytes: 0 },
    edits: [{ hookPoint: post(0), op: 'add', vector, strength: 1, unit: 'raw' }],
    ...(nControls > 0 && { controls: { n: nControls, seed: 0 } }),
  },
]
const patchingOf = (n: number, grid: object, what: string): Case => [
  `patching of ${n} pairs over ${what}`,
  patching,
  { ...pairs(n), grid, metric: { kind: 'score', target }, methods: ['patching'] },
]

const cases: readonly Case[] = [
  sweepOf(1, 40, 0),
  sweepOf(1, 40, 2),
  sweepOf(40, 2, 1),
  steerOf(1, 0),
  steerOf(2, 40),
  steerOf(64, 0),
  patchingOf(3, { over: 'positions', components: ['resid_pre', 'mlp_out'] }, 'positions'),
  patchingOf(8, { over: 'heads' }, 'heads'),
  patchingOf(16, { over: 'heads' }, 'heads'),
  patchingOf(16, { over: 'components', components: ['attn_out', 'mlp_out', 'resid_pre'] }, 'components'),
  [
    'path patching of 8 pairs',
    pathPatching,
    {
      ...{ ...pairs(8), metric: { kind: 'score', target }, through: [] },
      ...{ senders: seeds(nHeads).map((head) => ({ kind: 'head', layer: 0, head })), receivers: [{ kind: 'output' }] },
    },
  ],
  [
    'the logit lens of 16 pictures',
    logitLens,
    {
      ...{ pixels: pixels(tower, seeds(16)), hookPoints: everyLayer.map(post), topK: 2, withLogits: false },
      nLogits: nLayers * nPos * dOut,
    },
  ],
  [
    'sums over the heads of 40 pictures',
    headSums,
    { pixels: pixels(tower, seeds(40)), layers: everyLayer, nWeights: nLayers * nHeads * nPos ** 2 },
  ],
  [
    'direct logit attribution of 16 pictures',
    directLogitAttribution,
    {
      ...{ pixels: pixels(tower, seeds(16)), targets: [target], by: { heads: true }, topK: 3 },
      numbers: numbersOfImage(tower.config as VisionConfig, { nTargets: 1, by: { heads: true }, saes: [] }),
    },
  ],
]

test.each(cases)('%s takes no more than it says, and not a quarter of it or less', async (_what, analysis, input) => {
  const { backend, runs } = await recording()
  const { bench, close } = await tinyBench(backend, { tower })
  await analysis.run(bench, input as never)
  const row = rowSize(tower.graph, inferTypes(tower.graph), tower.config as VisionConfig)
  const ratio = analysisBytes(analysis.cost(input as never), { row, configs: [] }) / peakOf(runs)
  expect(ratio).toBeGreaterThanOrEqual(1)
  expect(ratio).toBeLessThan(4)
  await close()
})

test('gradients keep every value of a run, and SAEs their latents', () => {
  const row = { bytes: 1000, aliveBytes: 100, streamBytes: 50, tokens: 5 }
  const cost = { rows: 2, bytes: 7 }
  const plain = analysisBytes(cost, { row, configs: [] })
  expect(plain).toBe(2 * 150 + 7)
  expect(analysisBytes({ ...cost, kept: 3 }, { row, configs: [] })).toBe(plain + 150)
  expect(analysisBytes({ ...cost, gradients: true }, { row, configs: [] })).toBe(2 * 3000 + 7)
  const configs = [{ dSae: 10, dIn: 2, dOut: 2 }] as never
  expect(analysisBytes(cost, { row, configs })).toBe(plain + 2 * 5 * 4 * (30 + 2 + 4))
})

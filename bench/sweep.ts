/**
 * A sweep of 5 features in 21 strengths over 1 picture, at layer 9 of ViT-B/32 (random weights): 105 runs from the hook point on, against 40
 * plain forwards, each at a batch of 8 and counted for one picture. And how many graphs are compiled when it is asked for the first time, and again
 * with other numbers.
 */

import { sweep } from '../src/engine/analyses/steering/sweep.js'
import type { SweepInput } from '../src/engine/analyses/steering/sweep-contract.js'
import { interleave } from './support/measure.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, vitB32 } from './support/vit-b-32.js'
import { benchedModel } from './support/workbench.js'

const [nFeatures, nStrengths, nPlain, batch, layer] = [5, 21, 40, 8, 9]
const hookPoint = `blocks.${layer}.hook_resid_post`

const [one, many] = [pictures(1), pictures(batch)]
const { backend, nCompiled, graph, weights, open } = await benchedModel()
const bench = open()
const plain = await backend.compile(graph)

const rowsOf = (n: number, width: number, seed: number) => {
  const { data } = randomTensor([n, width], { scale: 1, seed })
  return Array.from({ length: n }, (_, row) => data.slice(row * width, (row + 1) * width))
}
const input = (seed: number): SweepInput => ({
  ...{ pixels: one, hookPoint, op: 'add', unit: 'norm', places: [{ positions: 'all' }] },
  directions: rowsOf(nFeatures, vitB32.dModel, seed).map((vector) => ({ vector })),
  lines: Array.from({ length: nFeatures }, (_, direction) => ({ image: 0, direction, place: 0 })),
  strengths: Array.from({ length: nStrengths }, (_, at) => at - Math.floor(nStrengths / 2) + seed / 100),
  targets: rowsOf(3, vitB32.head.dOut, seed + 1).map((direction, index) => ({ label: String(index), direction })),
})

const compiledBefore = nCompiled()
const began = performance.now()
await sweep.run(bench, input(1))
const [firstMs, compiledFirst] = [performance.now() - began, nCompiled() - compiledBefore]
let seed = 1
const times = await interleave(
  {
    plain: () => plain.run({ inputs: { pixels: many }, weights, fetch: graph.outputs }),
    sweep: () => sweep.run(bench, input(++seed)),
  },
  { seconds },
)
const plainMs = times.plain.medianMs / batch
report(`A sweep of ${nFeatures} features x ${nStrengths} strengths x 1 image at layer ${layer} of ViT-B/32`, [
  { what: 'plain forward at batch 8, ms an image', value: plainMs },
  { what: `sweep of ${nFeatures * nStrengths} points, warm, ms`, value: times.sweep.medianMs },
  { what: 'in plain forwards', value: times.sweep.medianMs / plainMs, target: `at most ${nPlain}` },
  { what: 'ms a point', value: times.sweep.medianMs / (nFeatures * nStrengths) },
  { what: 'the first time, compiling, ms', value: firstMs },
  {
    what: 'graphs compiled for all sweeps (up to the hook point, from it on, scores)',
    value: nCompiled() - compiledBefore,
    target: compiledFirst,
  },
])

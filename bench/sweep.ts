/**
 * A sweep of 5 features in 21 strengths over 1 picture, at layer 9 of ViT-B/32 (random weights): 105 runs from the hook point on, against 40
 * plain forwards, each at a batch of 8 and counted for one picture. And how many graphs are compiled when it is asked for the first time, and again
 * with other numbers.
 */

import { ProgramShelf } from '../src/engine/analyses/program-shelf.js'
import { sweep } from '../src/engine/analyses/steering/sweep.js'
import type { SweepInput } from '../src/engine/analyses/steering/sweep-contract.js'
import { openWorkbench } from '../src/engine/analyses/workbench.js'
import type { Backend } from '../src/engine/backends/backend.js'
import { createOnnxRuntimeBackend } from '../src/engine/backends/onnxruntime/backend.js'
import { hookPointsOf } from '../src/engine/hook-points.js'
import { builtTowers } from '../src/engine/interventions/built-towers.js'
import type { ModelDescription } from '../src/engine/models/model.js'
import { visionGraph } from '../src/engine/models/vit.js'
import { interleave } from './support/measure.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, vitB32 } from './support/vit-b-32.js'

const [nFeatures, nStrengths, nPlain, batch, layer] = [5, 21, 40, 8, 9]
const hookPoint = `blocks.${layer}.hook_resid_post`

const [one, many] = [pictures(1), pictures(batch)]
const graph = visionGraph(vitB32)
const backend = await createOnnxRuntimeBackend()
let nCompiled = 0
const counted: Backend = {
  ...backend,
  compile: (...given) => {
    nCompiled++
    return backend.compile(...given)
  },
}
const shapes = Object.entries(graph.parameters)
const weights = await backend.upload(
  Object.fromEntries(shapes.map(([name, { shape }], seed) => [name, randomTensor(shape as number[], { scale: 0.02, seed: seed + 1 })])),
)
const vision = { config: vitB32, hookPoints: hookPointsOf(vitB32) }
const bench = openWorkbench({
  backend: counted,
  model: {
    key: 'vit-b-32',
    description: { vision, logitScale: 100 } as unknown as ModelDescription,
    config: vitB32,
    build: builtTowers(vision as unknown as ModelDescription['vision'], (wanted) => visionGraph(vitB32, wanted)),
    weights,
  },
  saes: [],
  programs: new ProgramShelf(counted),
})

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

const plain = await backend.compile(graph)
const began = performance.now()
await sweep.run(bench, input(1))
const [firstMs, compiledFirst] = [performance.now() - began, nCompiled]
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
  { what: 'graphs compiled for all sweeps (up to the hook point, from it on, scores)', value: nCompiled, target: compiledFirst },
])

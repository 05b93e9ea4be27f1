/**
 * A grid of 12 x 12 patched heads on one pair of pictures, ViT-B/32 (random weights), against the same grid in PyTorch: with hooks in runs from
 * the pictures, and with the residual stream cached before each block. And attribution patching of all heads, counted in plain forwards of one
 * picture at batch 1 and at batch 8. How many graphs are compiled when it is asked for the first time, and again with other numbers.
 */

import { type PatchingInput, type PatchingMethod, patching } from '../src/engine/analyses/patching/patching.js'
import { ProgramShelf } from '../src/engine/analyses/program-shelf.js'
import { openWorkbench } from '../src/engine/analyses/workbench.js'
import type { Backend } from '../src/engine/backends/backend.js'
import { createOnnxRuntimeBackend } from '../src/engine/backends/onnxruntime/backend.js'
import { hookPointsOf, outputAxes, shapeOfAxes } from '../src/engine/hook-points.js'
import { builtTowers } from '../src/engine/interventions/built-towers.js'
import type { ModelDescription } from '../src/engine/models/model.js'
import { visionGraph } from '../src/engine/models/vit.js'
import { interleave } from './support/measure.js'
import { peer } from './support/peer.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { pictures, randomTensor, vitB32 } from './support/vit-b-32.js'

const AGAINST_PYTORCH = 1.8
const ATTRIBUTION_FORWARDS = 4

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
const axes = outputAxes(vitB32)
const vision = { config: vitB32, hookPoints: hookPointsOf(vitB32), output: { axes, shape: shapeOfAxes(axes, vitB32) }, nParameters: 0 }
const bench = openWorkbench({
  backend: counted,
  model: {
    key: 'vit-b-32',
    description: { vision, logitScale: 100 } as unknown as ModelDescription,
    config: vitB32,
    build: builtTowers(vision, (wanted) => visionGraph(vitB32, wanted)),
    weights,
  },
  saes: [],
  programs: new ProgramShelf(counted),
})
const { data } = randomTensor([512], { scale: 1, seed: 5 })
const ask = (method: PatchingMethod, direction: PatchingInput['direction'] = 'denoise') =>
  patching.run(bench, {
    clean: pictures(1),
    corrupted: randomTensor([1, 3, 224, 224], { scale: 1, seed: 99 }),
    direction,
    source: { kind: 'other' },
    grid: { over: 'heads' },
    metric: { kind: 'score', target: { label: 'random', direction: data } },
    methods: [method],
  })

const plain = await backend.compile(graph)
const first = async (method: PatchingMethod) => {
  const [began, before] = [performance.now(), nCompiled]
  await ask(method)
  return { ms: performance.now() - began, compiled: nCompiled - before }
}
const [firstGrid, firstAttribution] = [await first('patching'), await first('attribution')]
const compiledFirst = nCompiled
await ask('patching', 'noise')
const compiledAgain = nCompiled - compiledFirst

const theirs = () => peer('patching.py', ['--seconds', String(seconds / 2)])
const before = theirs()
const [one, many] = [pictures(1), pictures(8)]
const forward = (pixels: typeof one) => plain.run({ inputs: { pixels }, weights, fetch: graph.outputs })
const ours = await interleave(
  { grid: () => ask('patching'), attribution: () => ask('attribution'), one: () => forward(one), many: () => forward(many) },
  { seconds, warmUps: 1 },
)
const after = theirs()
const fastest = (runs: string) =>
  before && after && Math.min(...[...before, ...after].filter(({ how }) => how.startsWith(runs)).map(({ medianMs }) => medianMs))
const [hooks, prefix] = [fastest('hooks'), fastest('prefix')]
const perPicture = ours.many.medianMs / 8
report('Activation patching of 12 x 12 heads on ViT-B/32', [
  {
    'grid ms': ours.grid.medianMs,
    'plain forwards at batch 8': ours.grid.medianMs / perPicture,
    'first time ms': firstGrid.ms,
    'graphs compiled': firstGrid.compiled,
    'compiled again': compiledAgain,
    ...against({ hooks, prefix }),
  },
])
report('Attribution patching of 12 x 12 heads on ViT-B/32', [
  {
    'attribution ms': ours.attribution.medianMs,
    'plain forward ms': ours.one.medianMs,
    'plain forwards': ours.attribution.medianMs / ours.one.medianMs,
    'target at most': ATTRIBUTION_FORWARDS,
    'first time ms': firstAttribution.ms,
    'graphs compiled': firstAttribution.compiled,
  },
])

function against(peers: { hooks: number | undefined; prefix: number | undefined }): Row {
  if (peers.hooks === undefined || peers.prefix === undefined) return { PyTorch: 'not measured: set BENCH_PYTHON' }
  return {
    'PyTorch hooks ms': peers.hooks,
    'against hooks': peers.hooks / ours.grid.medianMs,
    'PyTorch prefix cached ms': peers.prefix,
    'against prefix cached': peers.prefix / ours.grid.medianMs,
    'target against PyTorch': AGAINST_PYTORCH,
  }
}

/**
 * A grid of 12 x 12 patched heads on one pair of pictures, ViT-B/32 (random weights), against the same grid in PyTorch: with hooks in runs from
 * the pictures, and with the residual stream cached before each block. And attribution patching of all heads, counted in plain forwards of one
 * picture at batch 1 and at batch 8. How many graphs are compiled when it is asked for the first time, and again with other numbers.
 */

import { type PatchingInput, type PatchingMethod, patching } from '../src/engine/analyses/patching/patching.js'
import { interleave } from './support/measure.js'
import { peer } from './support/peer.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { pictures, randomTensor } from './support/vit-b-32.js'
import { benchedModel } from './support/workbench.js'

const AGAINST_PYTORCH = 1.8
const ATTRIBUTION_FORWARDS = 4

const { backend, nCompiled, graph, weights, open } = await benchedModel()
const bench = open()
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

const first = async (method: PatchingMethod) => {
  const [began, before] = [performance.now(), nCompiled()]
  await ask(method)
  return { ms: performance.now() - began, compiled: nCompiled() - before }
}
const [firstGrid, firstAttribution] = [await first('patching'), await first('attribution')]
const compiledFirst = nCompiled()
await ask('patching', 'noise')
const compiledAgain = nCompiled() - compiledFirst
const plain = await backend.compile(graph)

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

/**
 * A sweep of 5 features in 21 strengths over 1 picture, at layer 9 of ViT-B/32 (random weights): 105 runs from the hook point on, against 40
 * plain forwards, each at a batch of 8 and counted for one picture. And how many graphs are compiled when it is asked for the first time, and again
 * with other numbers.
 */

import { sweep } from '../src/engine/analyses/steering/sweep.js'
import { interleave } from './support/measure.js'
import { seconds } from './support/settings.js'
import { nDirections, nStrengths, sweepInput, sweptLayer } from './support/sweep-input.js'
import { report } from './support/table.js'
import { pictures } from './support/vit-b-32.js'
import { benchedModel } from './support/workbench.js'

const [nPlain, batch] = [40, 8]

const many = pictures(batch)
const { backend, nCompiled, graph, weights, open } = await benchedModel()
const bench = open()
const plain = await backend.compile(graph)

const compiledBefore = nCompiled()
const began = performance.now()
await sweep.run(bench, sweepInput(1))
const [firstMs, compiledFirst] = [performance.now() - began, nCompiled() - compiledBefore]
let seed = 1
const times = await interleave(
  {
    plain: () => plain.run({ inputs: { pixels: many }, weights, fetch: graph.outputs }),
    sweep: () => sweep.run(bench, sweepInput(++seed)),
  },
  { seconds },
)
const plainMs = times.plain.medianMs / batch
report(`A sweep of ${nDirections} features x ${nStrengths} strengths x 1 image at layer ${sweptLayer} of ViT-B/32`, [
  { what: 'plain forward at batch 8, ms an image', value: plainMs },
  { what: `sweep of ${nDirections * nStrengths} points, warm, ms`, value: times.sweep.medianMs },
  { what: 'in plain forwards', value: times.sweep.medianMs / plainMs, target: `at most ${nPlain}` },
  { what: 'ms a point', value: times.sweep.medianMs / (nDirections * nStrengths) },
  { what: 'the first time, compiling, ms', value: firstMs },
  {
    what: 'graphs compiled for all sweeps (up to the hook point, from it on, scores)',
    value: nCompiled() - compiledBefore,
    target: compiledFirst,
  },
])

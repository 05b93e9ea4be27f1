/** What float16 costs in exactness, of every tiny model and of the demo's: the table of docs/devices.md is within these bounds. */

import { afterAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { onProvider } from '../../../src/engine/backends/onnxruntime/backend.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { createEngineHost } from '../../../src/engine/host/engine-host.js'
import { type LoadedTower, loadModel } from '../../../src/engine/models/load.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { stackPictures } from '../../../src/operations/drawn/stack-pictures.js'
import { demoModel, demoPictures } from '../analyses/demo-pictures.js'
import '../close-tensor.js'
import { onnxruntime } from '../each-backend.js'
import { roundHalves } from '../graph/rounded-halves.js'
import { expectedOf, fixtureNames, folderOf, run, towersOf } from './fixtures.js'

/** As parts of a value's scale. */
const [OUTPUT, HOOK_POINT] = [4e-3, 1e-2]

const whole = await onnxruntime.create()
const half = await onProvider(
  { options: () => 'cpu', memory: 'session', precisions: ['float32', 'float16'] },
  { device: 'cpu', intraOpThreads: 1, deviceBytes: 2 ** 28, precision: 'float16' },
)

async function expectNear(tower: LoadedTower, input: Tensor, bounds: { readonly output: number; readonly hookPoint: number }) {
  const graph = tower.buildGraph(new Set())
  const exposed = expose(graph, graph.hookPoints.map(({ name }) => name)) // biome-ignore format: one line
  const feeds = { inputs: { [Object.keys(graph.inputs)[0]!]: input }, weights: tower.weights }
  const exact = await run(whole, exposed, feeds)
  const ways: readonly (readonly [string, Backend, typeof graph])[] = [
    ['in float16', half, exposed],
    ['rounded to 11 bits', whole, roundHalves(exposed)],
  ]
  for (const [how, backend, way] of ways) {
    const given = await run(backend, way, feeds)
    for (const name of exposed.outputs) {
      const tolerance = graph.outputs.includes(name) ? bounds.output : bounds.hookPoint
      expect(given[name], `${name} ${how}`).toBeCloseTensor(exact[name]!, { tolerance })
    }
    expect(given[graph.outputs[0]!]).not.toEqual(exact[graph.outputs[0]!])
  }
}

test.each(fixtureNames)('%s', async (name) => {
  const [model, expected] = [await loadModel(folderOf(name), { processing: [] }), await expectedOf(name)]
  for (const [tower, loaded] of towersOf(model)) {
    const input = expected.get(tower === 'vision' ? 'vision/pixels' : 'text/tokens')
    if (input) await expectNear(loaded, input, { output: OUTPUT, hookPoint: HOOK_POINT })
  }
})

describe('the model of the demo', async () => {
  const host = await createEngineHost({ devices: ['cpu'], memoryBytes: 2 ** 28, intraOpThreads: 1 })
  afterAll(() => host.close())

  test('on pictures that it was not trained on', async () => {
    const pictures = (await demoPictures(host, 40)).slice(0, 12)
    const { towers } = await loadModel(demoModel.folder, { processing: [] })
    await expectNear(towers.vision, stackPictures(pictures.map(({ pixels }) => pixels)), { output: 2e-3, hookPoint: 4e-3 })
  })
})

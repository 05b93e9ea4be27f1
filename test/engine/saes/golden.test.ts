import { describe, expect, test } from 'vitest'
import { expose } from '../../../src/engine/graph/edit.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { saeParameters } from '../../../src/engine/saes/sae.js'
import { saeGraph } from '../../../src/engine/saes/sae-graph.js'
import { backends, runOnce } from '../each-backend.js'
import '../close-tensor.js'
import { readJson, readTensors, under } from './fixtures.js'

const cases = readJson('forward.json') as Record<string, SaeConfig>
const tensors = await readTensors('forward.safetensors')

describe.each(backends)('an SAE on %s', async (underTest) => {
  const backend = await underTest.create()

  test.each(Object.entries(cases))('%s: latents and reconstruction are those of PyTorch', async (name, config) => {
    const { x, ...expected } = under(tensors, name)
    const weights = under(tensors, `${name}/weights`)
    const values = Object.entries(expected).filter(([key]) => !key.startsWith('weights/'))
    const graph = saeGraph(config)
    const exposed = expose(
      graph,
      graph.hookPoints.map((hookPoint) => hookPoint.name),
    )
    const actual = await runOnce(backend, exposed, { inputs: { x: x! }, weights })
    expect(values.length).toBeGreaterThanOrEqual(2)
    for (const [value, tensor] of values) expect(actual[value]).toBeCloseTensor(tensor)
  })
})

test('the fixtures have exactly the parameters that a configuration says', () => {
  for (const [name, config] of Object.entries(cases)) {
    const weights = Object.entries(under(tensors, `${name}/weights`)).map(([key, { shape }]) => [key, shape])
    expect(Object.fromEntries(weights)).toEqual(saeParameters(config))
  }
})

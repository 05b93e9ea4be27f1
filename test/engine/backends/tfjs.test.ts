import { describe, expect, test } from 'vitest'
import { loadTf } from '../../../src/engine/backends/tfjs/library.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { chooseBackend } from '../../../src/engine/host/choose-backend.js'
import { float32 } from '../../../src/engine/tensor.js'
import { runOnce, tfjs } from '../each-backend.js'

describe('TensorFlow.js', () => {
  test('is chosen by name, with its flavour', async () => {
    const backend = await chooseBackend({ device: 'tfjs:cpu', intraOpThreads: 1 })
    expect(backend).toMatchObject({ name: 'tfjs', device: 'tfjs:cpu' })
  })

  test('that is not installed is refused with what is missing', async () => {
    await expect(chooseBackend({ device: 'tfjs:node-gpu', intraOpThreads: 1 })).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('@tensorflow/tfjs-node-gpu'),
    })
    await expect(loadTf('quantum')).rejects.toMatchObject({
      code: 'DEVICE_UNAVAILABLE',
      message: expect.stringContaining('there are node-gpu'),
    })
  })

  test('keeps nothing of a run but what it was told to', async () => {
    const { tf } = await loadTf('cpu')
    const backend = await tfjs.create()
    const b = new GraphBuilder('g')
    const x = b.input('x', 'float32', ['batch', 3])
    const parts = b.opMany(
      'Split',
      [b.op('Transpose', [b.op('Reshape', [x, b.constant({ dtype: 'int64', shape: [2], data: BigInt64Array.of(-1n, 3n) })])])],
      {
        nOutputs: 3,
        attributes: { num_outputs: 3 },
      },
    )
    const graph = b.build([b.op('Add', [b.op('Softmax', [parts[0]!]), b.op('MatMul', [b.parameter('w', [1, 1]), parts[2]!])])])
    const once = () => runOnce(backend, graph, { inputs: { x: float32([2, 3], [1, 2, 3, 4, 5, 6]) }, weights: { w: float32([1, 1], [2]) } })
    await once()
    const before = tf.memory().numTensors
    await once()
    expect(tf.memory().numTensors).toBe(before)
  })
})

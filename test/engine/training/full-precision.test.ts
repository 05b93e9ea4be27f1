import { expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { float32 } from '../../../src/engine/tensor.js'
import { requireFullPrecision } from '../../../src/engine/training/full-precision.js'
import { Stepper } from '../../../src/engine/training/stepper.js'
import { onnxruntime } from '../each-backend.js'

test.each(['float16', 'tf32'] as const)('a device that computes in %s trains nothing, and what to do is said', async (precision) => {
  const backend = { ...(await onnxruntime.create()), precision }
  const b = new GraphBuilder('g')
  const graph = b.build([
    b.named('loss', b.op('ReduceSum', [b.op('Mul', [b.parameter('w', [1]), b.input('x', 'float32', [1])])], { keepdims: 0 })),
  ])
  const training = Stepper.create({
    ...{ backend, graph, loss: 'loss', trainable: ['w'], optimizer: { kind: 'adam' } },
    weights: { w: float32([1], [1]) },
  })
  await expect(training).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('REFRACT_PRECISION=float32') })
})

test('float32 and float64 do', async () => {
  const backend = await onnxruntime.create()
  for (const precision of ['float32', 'float64'] as const) expect(() => requireFullPrecision({ ...backend, precision })).not.toThrow()
})

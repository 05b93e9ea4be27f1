import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { createOnnxRuntimeBackend } from '../../../src/engine/backends/onnxruntime/backend.js'
import { backendFailure } from '../../../src/engine/backends/onnxruntime/failures.js'
import { expose } from '../../../src/engine/graph/edit.js'
import { toOnnx } from '../../../src/engine/graph/to-onnx.js'
import type { Tensor } from '../../../src/engine/tensor.js'
import { reference, runOnce } from '../each-backend.js'
import { block, feedsFor } from '../graph/small-graphs.js'

test('a device it does not have is refused with those it has', async () => {
  await expect(createOnnxRuntimeBackend({ device: 'cuda:0' })).rejects.toMatchObject({
    code: 'DEVICE_UNAVAILABLE',
    details: { device: 'cuda:0', available: expect.arrayContaining(['cpu', 'webgpu']) },
  })
  await expect(createOnnxRuntimeBackend({ device: 'toString' })).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' })
})

test('says which backend and device it is', async () => {
  expect(await createOnnxRuntimeBackend()).toMatchObject({ name: 'onnxruntime', device: 'cpu' })
})

describe('its errors', () => {
  test('name the operator that it cannot run', () => {
    const text = "NOT_IMPLEMENTED : Could not find an implementation for Erf(13) node with name 'blocks.0.mlp.hook_post'"
    expect(backendFailure(new Error(text), { device: 'cpu', doing: 'compiling' })).toMatchObject({
      code: 'OPERATOR_UNSUPPORTED',
      details: { op: 'Erf', backend: 'onnxruntime', why: expect.stringContaining('blocks.0.mlp.hook_post') },
    })
  })

  test('keep what it said otherwise', () => {
    const failure = backendFailure('it rains', { device: 'cpu', doing: 'running "x"' })
    expect(failure.message).toBe('The onnxruntime backend failed running "x": it rains')
  })
})

test('a program estimates its memory from its graph, and frees it once', async () => {
  const backend = await createOnnxRuntimeBackend({ intraOpThreads: 1 })
  const [small, large] = await Promise.all([
    backend.compile(block()),
    backend.compile(
      expose(
        block('written out'),
        block('written out').hookPoints.map(({ name }) => name),
      ),
    ),
  ])
  expect(small.bytes).toBeGreaterThan(2 ** 20)
  expect(large.bytes).toBeGreaterThan(small.bytes)
  await Promise.all([small.dispose(), large.dispose()])
  await small.dispose()
  const weights = await backend.upload({})
  await expect(small.run({ inputs: {}, weights, fetch: [] })).rejects.toThrow('after it was disposed of')
})

/**
 * Makes a session inside a thread, answers one run, and waits. Plain JavaScript over the ONNX file, because a thread cannot read
 * TypeScript.
 */
const threadSource = `
  const { parentPort, workerData } = require('node:worker_threads')
  const ort = require('onnxruntime-node')
  const tensors = (feeds) => Object.fromEntries(Object.entries(feeds).map(([name, { dtype, shape, data }]) => [name, new ort.Tensor(dtype, data, shape)]))
  parentPort.on('message', () => undefined)
  ort.InferenceSession.create(workerData.model, workerData.options).then(async (session) => {
    const output = (await session.run(tensors(workerData.feeds), [workerData.fetch]))[workerData.fetch]
    parentPort.postMessage(output.data)
  })
`

test('threads may use it side by side, be ended between runs, and be followed by others', async () => {
  const graph = block()
  const { inputs, weights } = feedsFor(graph, { batch: 2, seed: 6 })
  const fetch = graph.outputs[0]!
  const expected = (await runOnce(await reference.create(), graph, { inputs, weights }))[fetch] as Tensor<'float32'>
  const onThread = async () => {
    const worker = new Worker(threadSource, {
      eval: true,
      workerData: {
        model: toOnnx(graph),
        feeds: { ...inputs, ...weights },
        fetch,
        options: { graphOptimizationLevel: 'disabled' },
      },
    })
    const answer = await new Promise<Float32Array>((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await worker.terminate()
    return answer
  }
  const answers = [await onThread(), ...(await Promise.all([onThread(), onThread()])), await onThread()]
  for (const answer of answers) {
    for (const [at, value] of answer.entries()) expect(Math.abs(value - expected.data[at]!)).toBeLessThan(1e-4)
  }
  // And this thread still has it.
  const backend = await createOnnxRuntimeBackend({ intraOpThreads: 1 })
  expect((await runOnce(backend, graph, { inputs, weights }))[fetch]!.shape).toEqual([2, 2])
})

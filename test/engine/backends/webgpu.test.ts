/**
 * ONNX Runtime on WebGPU, wherever an adapter is found: every operator against the reference, and training, whose weights never leave the device.
 */

import { describe, expect, test } from 'vitest'
import { createOnnxRuntimeBackend } from '../../../src/engine/backends/onnxruntime/backend.js'
import { EngineError } from '../../../src/engine/errors.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { type OpName, opNames } from '../../../src/engine/graph/operators.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { chooseBackend } from '../../../src/engine/host/choose-backend.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { createRandom } from '../../../src/engine/random.js'
import { float32, scalar, type Tensor, tensor, zeros } from '../../../src/engine/tensor.js'
import { initialWeights, objectiveGraph } from '../../../src/engine/training/model-objective.js'
import { Stepper } from '../../../src/engine/training/stepper.js'
import '../close-tensor.js'
import { onnxruntime, reference, runOnce } from '../each-backend.js'
import { feedsFor, block as smallBlock } from '../graph/small-graphs.js'
import { webgpu } from './every-backend.js'
import { caseGraph, type OperatorCase, operatorCases } from './operator-cases.js'

const refusesFloat64: readonly OpName[] = ['Conv', 'ConvTranspose', 'Erf', 'Gelu']

function hasFloat64(op: OpName, each: OperatorCase): boolean {
  return [...validate(caseGraph(op, each).graph).values()].some(({ dtype }) => dtype === 'float64')
}

/** The nodes of all cases but those in float64, side by side. */
function graphOfCases(op: OpName) {
  const prefixed = (names: readonly string[], prefix: string) => names.map((name) => (name === '' ? '' : prefix + name))
  const renamed = <T>(values: Readonly<Record<string, T>>, prefix: string) =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [prefix + name, value]))
  const parts = operatorCases[op]
    .filter((each) => !hasFloat64(op, each))
    .map((each, index) => ({ each, prefix: `${index}/`, ...caseGraph(op, each) }))
  const graph: Graph = {
    name: op,
    inputs: Object.assign({}, ...parts.map(({ graph, prefix }) => renamed(graph.inputs, prefix))),
    parameters: {},
    constants: Object.assign({}, ...parts.map(({ graph, prefix }) => renamed(graph.constants, prefix))),
    nodes: parts.flatMap(({ graph, prefix }) =>
      graph.nodes.map((node) => ({ ...node, inputs: prefixed(node.inputs, prefix), outputs: prefixed(node.outputs, prefix) })),
    ),
    outputs: parts.flatMap(({ graph, prefix }) => prefixed(graph.outputs, prefix)),
    hookPoints: [],
  }
  const feeds: Record<string, Tensor> = Object.assign({}, ...parts.map(({ feeds, prefix }) => renamed(feeds, prefix)))
  return { graph, feeds, cases: parts.map(({ each, graph, prefix }) => ({ each, outputs: prefixed(graph.outputs, prefix) })) }
}

describe.runIf(webgpu)('WebGPU', async () => {
  const [plain, gpu] = await Promise.all([reference.create(), webgpu?.create()])

  // One graph for all cases of an operator: a session on a device costs more than what it computes.
  test.each(opNames)('%s agrees with the reference', async (op: OpName) => {
    const { graph, feeds, cases } = graphOfCases(op)
    const [expected, actual] = [await runOnce(plain, graph, { inputs: feeds }), await runOnce(gpu!, graph, { inputs: feeds })]
    for (const { each, outputs } of cases) {
      for (const output of outputs) {
        if (each.isBeyondShaders) expect(actual[output]!.shape, each.title).toEqual(expected[output]!.shape)
        else expect(actual[output], each.title).toBeCloseTensor(expected[output]!, { tolerance: each.tolerance ?? 1e-5 })
      }
    }
  })

  test.each(opNames)('%s in float64 is computed by the CPU, or refused', async (op: OpName) => {
    for (const each of operatorCases[op].filter((each) => hasFloat64(op, each))) {
      const { graph, feeds } = caseGraph(op, each)
      const run = runOnce(gpu!, graph, { inputs: feeds })
      if (refusesFloat64.includes(op)) await expect(run).rejects.toMatchObject({ code: 'OPERATOR_UNSUPPORTED' })
      else
        for (const [output, value] of Object.entries(await runOnce(plain, graph, { inputs: feeds })))
          expect((await run)[output]).toBeCloseTensor(value, { tolerance: 1e-6 })
    }
  })

  test('a model trained for some steps is the one that the CPU trains', async () => {
    const vision: VisionConfig = {
      ...{ nLayers: 2, dModel: 16, nHeads: 2, dHead: 8, dMlp: 32, activation: 'gelu', normalization: 'layerNorm', normEps: 1e-6 },
      ...{ biases: { qkv: true, attnOut: true, mlp: true }, scaleAttention: true, layerScale: false, normalizeOutput: false },
      ...{
        imageSize: { height: 8, width: 8 },
        patchSize: { height: 4, width: 4 },
        nChannels: 1,
        patchBias: true,
        hasCls: true,
        nRegisters: 0,
      },
      ...{ lnPre: false, finalNorm: 'tokens', pooling: 'cls', head: { kind: 'classes', dOut: 3, bias: true } },
    }
    const objective = { kind: 'classification', vision } as const
    const graph = objectiveGraph(objective)
    const random = createRandom(1)
    const pixels = tensor(
      'float32',
      [6, 1, 8, 8],
      Float32Array.from({ length: 384 }, () => random.uniform() - 0.5),
    )
    const batch = { pixels, labels: tensor('int64', [6], BigInt64Array.of(0n, 1n, 2n, 0n, 1n, 2n)) }
    const losses = await Promise.all(
      [await onnxruntime.create(), gpu!].map(async (backend) => {
        const stepper = await Stepper.create({
          ...{ backend, graph, loss: 'loss', trainable: Object.keys(graph.parameters), clipNorm: 1 },
          optimizer: { kind: 'adamw', weightDecay: 0.05 },
          weights: initialWeights(objective, createRandom(0)),
        })
        const numbers: number[] = []
        for (let step = 0; step < 5; step++) numbers.push((await stepper.update(batch, 1e-2)).numbers.loss!)
        await stepper.dispose()
        return numbers
      }),
    )
    expect(losses[1]!.at(-1)!).toBeLessThan(losses[1]![0]!)
    for (const [step, loss] of losses[0]!.entries()) expect(losses[1]![step]).toBeCloseTo(loss, 4)
  })
})

describe.runIf(webgpu)('weights on WebGPU', () => {
  /** next = w + x; product = w v */
  function graph() {
    const b = new GraphBuilder('g')
    const [w, v] = [b.parameter('w', [2]), b.parameter('v', [2])]
    const next = b.named('next', b.op('Add', [w, b.input('x', 'float32', [])]))
    return b.build([next, b.named('product', b.op('Mul', [w, v]))])
  }

  // Each takes 8 bytes: none fits, one of a run's two, one upload, all of them.
  test.each([4, 8, 16, 1024])('come and go within %s bytes, and are what was written to them', async (deviceBytes) => {
    const backend = await createOnnxRuntimeBackend({ device: 'webgpu', intraOpThreads: 1, deviceBytes })
    const program = await backend.compile(graph())
    const uploads = await Promise.all([1, 2, 3].map((w) => backend.upload({ w: float32([2], [w, w]), v: float32([2], [1, 2]) })))
    const product = async (weights: (typeof uploads)[number]) =>
      Array.from((await program.run({ inputs: { x: scalar(10) }, weights, fetch: ['product'] })).product!.data as Float32Array)
    for (let round = 0; round < 2; round++) expect(await Promise.all(uploads.map(product))).toEqual([[1, 2], [2, 4], [3, 6]]) // biome-ignore format: one line
    const [written] = uploads
    await program.run({ inputs: { x: scalar(10) }, weights: written!, fetch: [], writeBack: { w: 'next' } })
    expect([await product(uploads[1]!), await product(written!), await product(uploads[2]!)]).toEqual([[2, 4], [11, 22], [3, 6]]) // biome-ignore format: one line
    expect(Array.from((await written!.read(['w'])).w!.data as Float32Array)).toEqual([11, 11])
    await Promise.all([program.dispose(), ...uploads.map((weights) => weights.dispose())])
  })

  test('in float16 are computed with, or the device says that it cannot', async () => {
    const opened = await chooseBackend({ device: 'webgpu', precision: 'float16', intraOpThreads: 1 }).catch((error: EngineError) => error)
    if (opened instanceof EngineError) {
      expect(opened).toMatchObject({ code: 'DEVICE_UNAVAILABLE', message: expect.stringContaining('f16') })
      return
    }
    const block = smallBlock()
    const feeds = feedsFor(block, { batch: 2, seed: 1 })
    const [exact, given] = [await runOnce(await reference.create(), block, feeds), await runOnce(opened, block, feeds)]
    for (const output of block.outputs) expect(given[output]).toBeCloseTensor(exact[output]!, { tolerance: 5e-3 })
  })

  test('that a run needs more of than the device allows are refused, and the next run is served', async () => {
    const b = new GraphBuilder('wide')
    const product = b.op('MatMul', [b.input('x', 'float32', ['n', 1]), b.input('y', 'float32', [1, 'm'])])
    const wide = b.build([b.op('ReduceMax', [product], { keepdims: 0 })])
    const backend = await createOnnxRuntimeBackend({ device: 'webgpu', intraOpThreads: 1 })
    const [program, weights] = [await backend.compile(wide), await backend.upload({})]
    const largest = async (n: number, m: number) => {
      const inputs = { x: zeros('float32', [n, 1]), y: zeros('float32', [1, m]) }
      return (await program.run({ inputs, weights, fetch: wide.outputs }))[wide.outputs[0]!]!.data[0]
    }
    await expect(largest(60_000, 60_000)).rejects.toMatchObject({ code: expect.stringMatching(/^DEVICE_(OUT_OF_MEMORY|LIMIT_EXCEEDED)$/) })
    expect(await largest(4, 4)).toBe(0)
    await program.dispose()
  })
})

test.runIf(!webgpu)('WebGPU without an adapter is refused, and why is said', async () => {
  await expect(chooseBackend({ device: 'webgpu', intraOpThreads: 1 })).rejects.toMatchObject({ code: 'DEVICE_UNAVAILABLE' })
})

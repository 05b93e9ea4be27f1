import fs from 'node:fs'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { createReferenceBackend } from '../../../src/engine/backends/reference/backend.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { differentiate, gradientName } from '../../../src/engine/graph/differentiate.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { openWeights } from '../../../src/engine/io/weight-file.js'
import { type LoadedModel, loadModel } from '../../../src/engine/models/load.js'
import { int64, scalar, type Tensor } from '../../../src/engine/tensor.js'
import { scaleOf } from '../close-tensor.js'
import { onnxruntime } from '../each-backend.js'
import { folderOf, optionalOf, relativeDifference, run, towersOf } from '../models/fixtures.js'

const folder = path.resolve(import.meta.dirname, '../../fixtures/gradients')
const { fixtures } = JSON.parse(fs.readFileSync(path.join(folder, 'manifest.json'), 'utf8')) as { fixtures: object }

async function expectedOf(name: string): Promise<Map<string, Tensor>> {
  const file = `${name}.expected.safetensors`
  const opened = await openWeights(await openFileSource(path.join(folder, file), file), file)
  try {
    const values = new Map<string, Tensor>()
    for (const key of opened.entries.keys()) values.set(key, await opened.read(key))
    return values
  } finally {
    await opened.close()
  }
}

/** Adds nodes behind a graph's own, and makes what they compute its one output. */
function followedBy(graph: Graph, make: (builder: GraphBuilder) => string): Graph {
  const types = inferTypes(graph)
  const around = { ...graph, whereMade: (value: string) => (types.has(value) ? ('before' as const) : undefined) }
  const builder = new GraphBuilder(graph.name, { around, prefix: 'loss/' })
  const output = make(builder)
  const { inputs, parameters, constants } = builder.declarations()
  return {
    ...graph,
    inputs: { ...graph.inputs, ...inputs },
    parameters: { ...graph.parameters, ...parameters },
    constants: { ...graph.constants, ...constants },
    nodes: [...graph.nodes, ...builder.nodes()],
    outputs: [output],
  }
}

/** The sum of the output times a pattern. */
const patternLoss = (graph: Graph, pattern: Tensor): Graph =>
  followedBy(graph, (b) => {
    const weighed = b.op('Mul', [graph.outputs[0]!, b.input('pattern', 'float32', ['batch', ...pattern.shape.slice(1)])])
    return b.named('loss', b.op('ReduceSum', [weighed], { keepdims: 0 }))
  })

/** Both towers in one graph, every name behind its tower's, and CLIP's loss of picture and text of the same row. */
function contrastiveLoss(model: LoadedModel): Graph {
  const towers = towersOf(model).map(([name, tower]) => renamed(tower.buildGraph(new Set()), `${name}/`))
  const [vision, text] = towers as [Graph, Graph]
  const both: Graph = {
    name: 'clip',
    inputs: { ...vision.inputs, ...text.inputs },
    parameters: { ...vision.parameters, ...text.parameters },
    constants: { ...vision.constants, ...text.constants },
    nodes: [...vision.nodes, ...text.nodes],
    outputs: [...vision.outputs, ...text.outputs],
    hookPoints: [...vision.hookPoints, ...text.hookPoints],
  }
  return followedBy(both, (b) => {
    const scale = b.op('Exp', [b.parameter('logit_scale', [])])
    const [image, caption] = [vision.outputs[0]!, text.outputs[0]!]
    const scores = b.op('Mul', [b.op('MatMul', [image, b.op('Transpose', [caption], { perm: [1, 0] })]), scale])
    const own = b.op('Mul', [b.op('ReduceSum', [b.op('Mul', [image, caption]), b.constant(int64([1], [1]))], { keepdims: 0 }), scale])
    const crossEntropy = (axis: number) => {
      const total = b.op('Log', [b.op('ReduceSum', [b.op('Exp', [scores]), b.constant(int64([1], [axis]))], { keepdims: 0 })])
      return b.op('ReduceMean', [b.op('Sub', [total, own])], { keepdims: 0 })
    }
    return b.named('loss', b.op('Mul', [b.op('Add', [crossEntropy(0), crossEntropy(1)]), b.constant(scalar(0.5))]))
  })
}

function renamed(graph: Graph, prefix: string): Graph {
  const name = (value: string) => (value === '' ? '' : `${prefix}${value}`)
  const keys = <T>(values: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [name(key), value]))
  return {
    ...graph,
    inputs: keys(graph.inputs),
    parameters: keys(graph.parameters),
    constants: keys(graph.constants),
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(name), outputs: node.outputs.map(name) })),
    outputs: graph.outputs.map(name),
    hookPoints: graph.hookPoints.map((hookPoint) => ({ ...hookPoint, name: name(hookPoint.name), firings: hookPoint.firings.map(name) })),
  }
}

const backends = [
  { name: 'the reference backend in float64', backend: createReferenceBackend({ precision: 'float64' }), tolerance: 1e-6 },
  { name: 'ONNX Runtime', backend: await onnxruntime.create(), tolerance: 2e-5 },
]

describe.each(Object.keys(fixtures))('gradients of %s', async (fixture) => {
  const [model, asGradients, expected] = await Promise.all([
    loadModel(folderOf(fixture)),
    loadModel(path.join(folder, fixture)),
    expectedOf(fixture),
  ])
  const optional = [...optionalOf(model, 'vision')].filter((name) => expected.has(`vision/${name}`))
  const isPair = model.towers.text !== undefined
  const prefix = (tower: string) => (isPair ? `${tower}/` : '')
  const graph = isPair ? contrastiveLoss(model) : patternLoss(model.towers.vision.buildGraph(new Set(optional)), expected.get('pattern')!)
  // By the names of the graph: of every weight, and at every hook point that the fixture has.
  const wanted = new Map<string, Tensor>()
  const weights: Record<string, Tensor<'float32'>> = isPair ? { logit_scale: expected.get('logit_scale') as Tensor<'float32'> } : {}
  if (isPair) wanted.set('logit_scale', expected.get('grad/logit_scale')!)
  for (const [name, tower] of towersOf(model)) {
    for (const [parameter, weight] of Object.entries(tower.weights)) {
      weights[prefix(name) + parameter] = weight
      wanted.set(prefix(name) + parameter, asGradients.towers[name]!.weights[parameter]!)
    }
  }
  const hookPoints = [...expected.keys()].filter((key) => /^(vision|text)\//.test(key) && !/\/(pixels|tokens)$/.test(key))
  for (const key of hookPoints) wanted.set(isPair ? key : key.slice('vision/'.length), expected.get(key)!)
  const inputs: Record<string, Tensor> = isPair
    ? { 'vision/pixels': expected.get('vision/pixels')!, 'text/tokens': expected.get('text/tokens')! }
    : { pixels: expected.get('vision/pixels')!, pattern: expected.get('pattern')! }

  const { config } = model.description.vision
  const nRegisters = 'nRegisters' in config ? config.nRegisters : 0
  /** In this fixture registers have no positions: their rows of the table are zeros that no checkpoint has. */
  const trainedPart = (name: string, gradient: Tensor): Tensor => {
    if (!name.endsWith('pos_embed.W_pos') || nRegisters === 0) return gradient
    const width = gradient.shape[1]!
    return { ...gradient, data: (gradient.data as Float32Array).slice().fill(0, width, (1 + nRegisters) * width) } as Tensor
  }

  test.each(backends)('are those of torch for every parameter and at the hook points ($name)', async ({ backend, tolerance }) => {
    const differentiated = differentiate(graph, 'loss', [...wanted.keys()])
    const values = await run(backend, differentiated, { inputs, weights })
    expect(relativeDifference(values.loss!, expected.get('loss')!)).toBeLessThan(tolerance)
    const differences = [...wanted].map(([name, tensor]) => {
      const gradient = values[gradientName(name)]!
      // A key's bias moves every score of a row alike, which a softmax does not see: its gradient is zero but for rounding.
      if (name.endsWith('.b_K'))
        return { name, difference: scaleOf(gradient) / scaleOf(values[gradientName(name.replace('.b_K', '.W_K'))]!) }
      return { name, difference: relativeDifference(trainedPart(name, gradient), trainedPart(name, tensor)) }
    })
    expect(differences.filter(({ difference }) => !(difference <= tolerance))).toEqual([])
  })
})

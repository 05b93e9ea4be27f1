/** A tiny vision and a tiny text tower with random weights, and a way to run them edited. */

import type { Backend } from '../../../src/engine/backends/backend.js'
import { expose } from '../../../src/engine/graph/edit.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { hookPointsOf } from '../../../src/engine/hook-points.js'
import { applyEdits } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import type { EditedTower } from '../../../src/engine/interventions/technique.js'
import type { TextConfig, TransformerConfig, VisionConfig } from '../../../src/engine/models/model.js'
import { textGraph } from '../../../src/engine/models/text-tower.js'
import { visionGraph } from '../../../src/engine/models/vit.js'
import { elementCount, float32, int64, type Tensor } from '../../../src/engine/tensor.js'
import { runOnce } from '../each-backend.js'

const shared: TransformerConfig = {
  nLayers: 2,
  dModel: 8,
  nHeads: 2,
  dHead: 4,
  dMlp: 12,
  activation: 'gelu',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: false,
}

/** CLS, one register, four patches. */
export const visionConfig: VisionConfig = {
  ...shared,
  imageSize: { height: 8, width: 8 },
  patchSize: { height: 4, width: 4 },
  nChannels: 1,
  patchBias: true,
  hasCls: true,
  nRegisters: 1,
  lnPre: true,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'projection', dOut: 5, bias: false },
}

export const textConfig: TextConfig = {
  ...shared,
  contextLength: 5,
  vocabSize: 20,
  causal: true,
  pooling: { kind: 'argmax' },
  head: { kind: 'projection', dOut: 5, bias: false },
}

export interface TinyTower extends EditedTower {
  readonly graph: Graph
  readonly weights: Readonly<Record<string, Tensor>>
  /** Feeds of one input; equal seeds, equal inputs. */
  readonly input: (seed: number) => Tensor
  readonly inputName: string
}

/** With every optional hook point that is `wanted`. */
export function visionTower(wanted: readonly string[] = [], config: VisionConfig = visionConfig): TinyTower {
  const names = new Set(wanted)
  const graph = visionGraph(config, names)
  const input = (seed: number) => float32([1, 1, 8, 8], random(64, seed))
  return { graph, config, hookPoints: hookPointsOf(config, names), weights: randomWeights(graph), input, inputName: 'pixels' }
}

/** Its end-of-text token is at position 3. */
export function textTower(config: TextConfig = textConfig): TinyTower {
  const graph = textGraph(config)
  const input = (seed: number) => int64([1, 5], [18, 1 + (seed % 7), 2 + (seed % 5), 19, 0])
  return { graph, config, hookPoints: hookPointsOf(config), weights: randomWeights(graph), input, inputName: 'tokens' }
}

/** The tower's output, and the values of hook points, for inputs of these seeds. */
export async function run(
  backend: Backend,
  tower: TinyTower,
  { edits = [], read = [], seeds = [1] }: { edits?: readonly Edit[]; read?: readonly string[]; seeds?: readonly number[] } = {},
): Promise<{ output: Tensor; values: Record<string, Tensor> }> {
  const edited = applyEdits(tower.graph, edits, tower)
  const inputs = { [tower.inputName]: stack(seeds.map(tower.input)), ...edited.inputs(seeds.length) }
  return runGraph(backend, tower, { graph: edited.graph, inputs, read })
}

export async function runGraph(
  backend: Backend,
  tower: TinyTower,
  { graph, inputs, read = [] }: { graph: Graph; inputs: Readonly<Record<string, Tensor>>; read?: readonly string[] },
): Promise<{ output: Tensor; values: Record<string, Tensor> }> {
  const exposed = expose(graph, read)
  const results = await runOnce(backend, exposed, { inputs, weights: tower.weights, fetch: exposed.outputs })
  return { output: results[graph.outputs[0]!]!, values: Object.fromEntries(read.map((name) => [name, results[name]!])) }
}

/** Concatenates along axis 0. */
export function stack(tensors: readonly Tensor[]): Tensor {
  const { dtype, shape } = tensors[0]!
  const nRows = tensors.reduce((sum, each) => sum + each.shape[0]!, 0)
  const data =
    dtype === 'int64'
      ? new BigInt64Array(elementCount([nRows, ...shape.slice(1)]))
      : new Float32Array(elementCount([nRows, ...shape.slice(1)]))
  let at = 0
  for (const each of tensors) {
    ;(data as Float32Array).set(each.data as Float32Array, at)
    at += each.data.length
  }
  return { dtype, shape: [nRows, ...shape.slice(1)], data } as Tensor
}

/** One row of a tensor, with a batch axis of 1. */
export function row(tensor: Tensor, index: number): Tensor {
  const length = elementCount(tensor.shape.slice(1))
  const data = tensor.data.slice(index * length, (index + 1) * length)
  return { ...tensor, shape: [1, ...tensor.shape.slice(1)], data } as Tensor
}

export function randomVector(length: number, seed: number): Float32Array {
  return Float32Array.from(random(length, seed + 1000))
}

function randomWeights(graph: Graph): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(graph.parameters).map(([name, { shape }], index) => {
      const lengths = shape.map(Number)
      const values = random(elementCount(lengths), index + 1).map((value) => value * 0.5 + (name.endsWith('.w') ? 1 : 0))
      return [name, float32(lengths, values)]
    }),
  )
}

/** Numbers between -1 and 1. */
function random(length: number, seed: number): number[] {
  let state = seed >>> 0
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const mixed = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 0
    return mixed / 2 ** 31 - 1
  })
}

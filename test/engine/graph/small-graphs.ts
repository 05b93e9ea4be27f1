/** Small graphs for tests: a transformer block with hook points, and random programs for property tests. */

import fc from 'fast-check'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { elementCount, float32, int64, scalar, type Tensor, tensor } from '../../../src/engine/tensor.js'

export const [nPos, dModel, dMlp] = [3, 4, 6]

export type NormForm = 'fused' | 'written out'

/** LayerNormalization with the hook points of a scale and of the result, as one operator or as its steps. */
export function norm(builder: GraphBuilder, { name, value, form }: { name: string; value: string; form: NormForm }): string {
  const [weight, bias] = [builder.parameter(`${name}.w`, [dModel]), builder.parameter(`${name}.b`, [dModel])]
  const hookScale = (scale: string) => builder.hook(`${name}.hook_scale`, ['batch', 'pos', 'scale'], scale)
  const hookResult = (result: string) => builder.hook(`${name}.hook_normalized`, ['batch', 'pos', 'dModel'], result)
  if (form === 'fused') {
    const [result, , inverse] = builder.opMany('LayerNormalization', [value, weight, bias], { nOutputs: 3, attributes: { epsilon: 1e-5 } })
    hookScale(builder.op('Reciprocal', [inverse!]))
    return hookResult(result!)
  }
  const last = builder.constant(int64([1], [-1]))
  const centred = builder.op('Sub', [value, builder.op('ReduceMean', [value, last])])
  const variance = builder.op('ReduceMean', [builder.op('Mul', [centred, centred]), last])
  const scale = hookScale(builder.op('Sqrt', [builder.op('Add', [variance, builder.constant(scalar(1e-5))])]))
  return hookResult(builder.op('Add', [builder.op('Mul', [builder.op('Div', [centred, scale]), weight]), bias]))
}

/** One block without attention: `x [batch, pos, dModel] -> logits [batch, 2]`. Its `normed` hook point fires three times. */
export function block(form: NormForm = 'fused', name = 'block'): Graph {
  const builder = new GraphBuilder(name)
  const x = builder.hook('hook_resid_pre', ['batch', 'pos', 'dModel'], builder.input('x', 'float32', ['batch', nPos, dModel]))
  const normed = norm(builder, { name: 'ln', value: x, form })
  const scaled = [1, 2, 3].map((factor) => builder.op('Mul', [normed, builder.constant(scalar(factor))]))
  const [q, k, v] = builder.hookEach('normed', ['batch', 'pos', 'dModel'], scaled)
  const mixed = builder.op('Add', [builder.op('Mul', [q!, k!]), v!])
  const flat = builder.op('Reshape', [mixed, builder.constant(int64([2], [-1, dModel]))])
  const hidden = builder.op('Gemm', [flat, builder.parameter('w_in', [dMlp, dModel]), builder.parameter('b_in', [dMlp])], { transB: 1 })
  const pre = builder.op('Reshape', [hidden, builder.constant(int64([3], [-1, nPos, dMlp]))])
  const post = builder.hook(
    'hook_post',
    ['batch', 'pos', 'dMlp'],
    builder.op('Gelu', [builder.hook('hook_pre', ['batch', 'pos', 'dMlp'], pre)]),
  )
  const out = builder.op('MatMul', [post, builder.parameter('w_out', [dMlp, dModel])])
  const resid = builder.hook('hook_resid_post', ['batch', 'pos', 'dModel'], builder.op('Add', [x, out]))
  const pooled = builder.op('ReduceMean', [resid, builder.constant(int64([1], [1]))], { keepdims: 0 })
  return builder.build([builder.op('MatMul', [pooled, builder.parameter('head', [dModel, 2])])])
}

/** Something for every input and parameter of a graph, the same for the same seed. */
export function feedsFor(graph: Graph, { batch, seed }: { batch: number; seed: number }) {
  const fill = (types: Graph['inputs'], offset: number) =>
    Object.fromEntries(
      Object.entries(types).map(([name, { dtype, shape }], index): [string, Tensor] => {
        const lengths = shape.map((dim) => (typeof dim === 'number' ? dim : batch))
        return [name, tensor(dtype as 'float32', lengths, Float32Array.from(wave(elementCount(lengths), seed * 31 + index * 7 + offset)))]
      }),
    )
  return { inputs: fill(graph.inputs, 1), weights: fill(graph.parameters, 1000) }
}

function wave(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, at) => Math.sin(seed * 12.9898 + at * 78.233) * 1.5)
}

// --- random programs over values [batch, nPos, dModel]

type Step = (builder: GraphBuilder, values: readonly string[], pick: (n: number) => number) => string

const weight = (builder: GraphBuilder, shape: readonly number[], pick: (n: number) => number) =>
  builder.parameter(`w${shape.join('x')}.${pick(3)}`, shape)

/** Patterns that models are made of, among them those that ONNX Runtime likes to fuse. */
const steps: readonly Step[] = [
  (b, values, pick) => b.op('Add', [values[pick(values.length)]!, values[pick(values.length)]!]),
  (b, values, pick) => b.op('Mul', [values[pick(values.length)]!, b.op('Tanh', [values[pick(values.length)]!])]),
  (b, values, pick) => b.op('Gelu', [values[pick(values.length)]!], { approximate: pick(2) ? 'tanh' : 'none' }),
  (b, values, pick) => b.op('Softmax', [values[pick(values.length)]!]),
  // x sigmoid(1.702 x)
  (b, values, pick) => {
    const x = values[pick(values.length)]!
    return b.op('Mul', [x, b.op('Sigmoid', [b.op('Mul', [x, b.constant(scalar(1.702))])])])
  },
  // x / 2 (1 + erf(x / sqrt 2))
  (b, values, pick) => {
    const x = values[pick(values.length)]!
    const one = b.op('Add', [b.op('Erf', [b.op('Div', [x, b.constant(scalar(Math.SQRT2))])]), b.constant(scalar(1))])
    return b.op('Mul', [b.op('Mul', [x, one]), b.constant(scalar(0.5))])
  },
  // A product and then a bias.
  (b, values, pick) =>
    b.op('Add', [b.op('MatMul', [values[pick(values.length)]!, weight(b, [dModel, dModel], pick)]), weight(b, [dModel], pick)]),
  // A linear layer on flattened positions.
  (b, values, pick) => {
    const flat = b.op('Reshape', [values[pick(values.length)]!, b.constant(int64([2], [-1, dModel]))])
    const made = b.op('Gemm', [flat, weight(b, [dModel, dModel], pick), weight(b, [dModel], pick)], { transB: 1 })
    return b.op('Reshape', [made, b.constant(int64([3], [-1, nPos, dModel]))])
  },
  // Layer normalisation in steps.
  (b, values, pick) => {
    const x = values[pick(values.length)]!
    const last = b.constant(int64([1], [-1]))
    const centred = b.op('Sub', [x, b.op('ReduceMean', [x, last])])
    const variance = b.op('ReduceMean', [b.op('Mul', [centred, centred]), last])
    const normal = b.op('Div', [centred, b.op('Sqrt', [b.op('Add', [variance, b.constant(scalar(1e-5))])])])
    return b.op('Add', [b.op('Mul', [normal, weight(b, [dModel], pick)]), weight(b, [dModel], pick)])
  },
  (b, values, pick) => b.opMany('LayerNormalization', [values[pick(values.length)]!, weight(b, [dModel], pick)], { nOutputs: 2 })[0]!,
  // Attention scores and back: two transposes in a row.
  (b, values, pick) => {
    const turned = b.op('Transpose', [values[pick(values.length)]!], { perm: [0, 2, 1] })
    return b.op('MatMul', [b.op('MatMul', [values[pick(values.length)]!, turned]), values[pick(values.length)]!])
  },
  (b, values, pick) => {
    const parts = b.opMany('Split', [values[pick(values.length)]!], { nOutputs: 2, attributes: { axis: -1, num_outputs: 2 } })
    return b.op('Concat', parts.toReversed(), { axis: -1 })
  },
  (b, values, pick) => b.op('Identity', [values[pick(values.length)]!]),
]

/** A random valid program; each step's result may be a hook point. */
export const programs: fc.Arbitrary<Graph> = fc
  .array(fc.record({ step: fc.nat(steps.length - 1), picks: fc.array(fc.nat(97), { minLength: 8, maxLength: 8 }), isHook: fc.boolean() }), {
    minLength: 1,
    maxLength: 12,
  })
  .map((plan) => {
    const builder = new GraphBuilder('program')
    const values = [builder.input('x', 'float32', ['batch', nPos, dModel])]
    for (const [index, { step, picks, isHook }] of plan.entries()) {
      let taken = 0
      const pick = (n: number) => {
        // Towards the newest, so that programs are deep.
        const choice = picks[taken++ % picks.length]! % n
        return n > 3 ? n - 1 - choice : choice
      }
      const made = steps[step]!(builder, values, (n) => (n === values.length ? values.length - 1 - (pick(n) % values.length) : pick(n)))
      values.push(isHook ? builder.hook(`hook_${index}`, ['batch', 'pos', 'dModel'], made) : made)
    }
    const last = values.at(-1)!
    return builder.build([builder.op('ReduceSum', [last, builder.constant(int64([1], [1]))], { keepdims: 0 })])
  })

export const vector = (...elements: number[]) => float32([elements.length], elements)

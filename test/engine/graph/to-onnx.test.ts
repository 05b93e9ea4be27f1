import { createRequire } from 'node:module'
import fc from 'fast-check'
import type * as Ort from 'onnxruntime-node'
import { describe, expect, test } from 'vitest'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { ProtobufWriter } from '../../../src/engine/graph/protobuf-writer.js'
import { onnxFile, toOnnx } from '../../../src/engine/graph/to-onnx.js'
import { allocate, bytesPerElement, type DType, float32, type Tensor, zeros } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { reference, runOnce } from '../each-backend.js'
import { block, dModel, feedsFor, nPos, programs } from './small-graphs.js'

const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof Ort
const load = (model: Uint8Array) => ort.InferenceSession.create(model, { graphOptimizationLevel: 'disabled', intraOpNumThreads: 1 })

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

/** A ValueInfoProto's shape: type, tensor_type, shape, then each dim's value or parameter. */
function axesOf(value: Uint8Array) {
  const within = (bytes: Uint8Array, field: number) => messages(bytes, field)[0]!
  return messages(within(within(within(value, 2), 1), 2), 1).map((dim) =>
    messages(dim, 2).length > 0 ? text(within(dim, 2)) : varintAt(dim, 1).value,
  )
}

/** The length-delimited fields of this number, of a message that has besides them only varints. */
function messages(bytes: Uint8Array, wanted: number): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const tag = varintAt(bytes, at)
    const held = varintAt(bytes, tag.end)
    const isDelimited = tag.value % 8 === 2
    at = isDelimited ? held.end + held.value : held.end
    if (isDelimited && Math.floor(tag.value / 8) === wanted) found.push(bytes.subarray(held.end, at))
  }
  return found
}

function varintAt(bytes: Uint8Array, start: number): { value: number; end: number } {
  let [value, factor, at] = [0, 1, start]
  for (; bytes[at]! >= 0x80; at++, factor *= 0x80) value += (bytes[at]! - 0x80) * factor
  return { value: value + bytes[at]! * factor, end: at + 1 }
}

describe('a graph as an ONNX file', () => {
  test('of more than a file can hold is refused before anything is put into memory', () => {
    const builder = new GraphBuilder('large')
    const x = builder.input('x', 'float32', ['batch', 2 ** 15])
    const graph = builder.build([builder.op('MatMul', [x, builder.parameter('w', [2 ** 15, 2 ** 14])])])
    expect(() => onnxFile(graph, { holds: () => true })).toThrow(/2147\d{6} bytes.*holds 2147483647.*leave the weights out/)
    expect(onnxFile(graph, {}).byteLength).toBeLessThan(1000)
  })

  test('declares inputs, then parameters, and outputs with their types', async () => {
    const graph = { ...block(), outputs: [...block().outputs, 'hook_pre', 'normed'] }
    const session = await load(toOnnx(graph))
    expect(session.inputNames).toEqual(['x', ...Object.keys(graph.parameters)])
    expect(session.outputNames).toEqual(graph.outputs)
    const shapeOf = (name: string) => {
      const found = [...session.inputMetadata, ...session.outputMetadata].find((value) => value.name === name)
      return found?.isTensor ? [found.type, ...found.shape] : undefined
    }
    expect(shapeOf('x')).toEqual(['float32', 'batch', 3, 4])
    expect(shapeOf('w_in')).toEqual(['float32', 6, 4])
    expect(shapeOf('hook_pre')).toEqual(['float32', 'batch', 3, 6])
    await session.release()
  })

  test('says the type of every inner value too, a length that is a product or sum by its text', () => {
    const graph = { ...block(), outputs: [...block().outputs, 'hook_pre'] }
    const types = inferTypes(graph)
    const [model] = messages(toOnnx(graph), 7)
    const described = messages(model!, 13).map((value) => [text(messages(value, 1)[0]!), axesOf(value)])
    const inner = graph.nodes.flatMap(({ outputs }) => outputs).filter((value) => !graph.outputs.includes(value))
    expect(Object.fromEntries(described)).toEqual(Object.fromEntries(inner.map((value) => [value, types.get(value)!.shape])))
    expect(described.map(([, axes]) => axes)).toContainEqual([`${nPos}*batch`, dModel])
  })

  test('runs elsewhere with its weights inside', async () => {
    const graph = block()
    const { inputs, weights } = feedsFor(graph, { batch: 2, seed: 2 })
    const session = await load(toOnnx(graph, { initializers: weights }))
    expect(session.inputNames).toEqual(['x'])
    const output = graph.outputs[0]!
    const x = inputs.x!
    const result = (await session.run({ x: new ort.Tensor('float32', x.data as Float32Array, x.shape) }, [output]))[output]!
    const expected = (await runOnce(await reference.create(), graph, { inputs, weights }))[output]!
    expect({ dtype: 'float32', shape: result.dims, data: result.data } as Tensor).toBeCloseTensor(expected)
    await session.release()
  })

  test('may have some of its weights inside, and ignores those it does not use', async () => {
    const graph = block()
    const { weights } = feedsFor(graph, { batch: 1, seed: 2 })
    const session = await load(toOnnx(graph, { initializers: { w_in: weights.w_in!, unrelated: float32([1], [1]) } }))
    expect(session.inputNames).toEqual(['x', ...Object.keys(graph.parameters).filter((name) => name !== 'w_in')])
    await session.release()
  })

  test('refuses weights that are not of their type, and invalid graphs', () => {
    expect(() => toOnnx(block(), { initializers: { w_in: zeros('float32', [4, 6]) } })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    )
    expect(() => toOnnx(block(), { initializers: { w_in: zeros('float64', [6, 4]) } })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    )
    expect(() => toOnnx({ ...block(), outputs: ['nobody'] })).toThrow(expect.objectContaining({ code: 'GRAPH_INVALID' }))
  })

  test('carries literals of every dtype exactly', async () => {
    for (const dtype of Object.keys(bytesPerElement) as DType[]) {
      const data = allocate(dtype, 3)
      data.set((dtype === 'int64' ? [-1n, 2n ** 62n, 7n] : dtype === 'bool' ? [1, 0, 1] : [3, 200, 7]) as never)
      const literal = { dtype, shape: [3], data } as Tensor
      const builder = new GraphBuilder('literal')
      const graph = builder.build([builder.op('Identity', [builder.constant(literal)])])
      const session = await load(toOnnx(graph))
      const result = (await session.run({}))[graph.outputs[0]!]!
      expect([result.type, result.dims, result.data]).toEqual([dtype, [3], data])
      await session.release()
    }
  })

  test('takes any name a value can have', async () => {
    const builder = new GraphBuilder('names "quoted" and ünïcode ✓')
    const x = builder.input('pixels 像素/0:#@', 'float32', ['batch'])
    const y = builder.hook('blocks.0.hook "é"', ['batch'], builder.op('Neg', [x]))
    const session = await load(toOnnx(builder.build([y])))
    expect([session.inputNames, session.outputNames]).toEqual([[x], [y]])
    await session.release()
  })

  test('loads for random programs', async () => {
    await fc.assert(
      fc.asyncProperty(programs, async (graph) => {
        const session = await load(toOnnx(graph))
        expect(session.outputNames).toEqual(graph.outputs)
        await session.release()
      }),
      { numRuns: 30 },
    )
  })
})

describe('protocol buffers', () => {
  const written = (write: (writer: ProtobufWriter) => void, expectedBytes?: number) => {
    const writer = new ProtobufWriter(expectedBytes)
    write(writer)
    return Buffer.from(writer.bytes()).toString('hex')
  }

  test('encode as in the specification', () => {
    expect(written((writer) => writer.int(1, 150))).toBe('089601')
    expect(written((writer) => writer.string(2, 'testing'))).toBe('120774657374696e67')
    expect(written((writer) => writer.message(3, () => writer.int(1, 150)))).toBe('1a03089601')
    expect(written((writer) => writer.int(1, -1))).toBe('08ffffffffffffffffff01')
    expect(written((writer) => writer.int(1, -2))).toBe('08feffffffffffffffff01')
    expect(written((writer) => writer.int(1, 2 ** 53 - 1))).toBe('08ffffffffffffff0f')
    expect(written((writer) => writer.int(16, 1))).toBe('800101')
    expect(written((writer) => writer.float(2, 1))).toBe('150000803f')
    expect(written((writer) => writer.message(1, () => undefined))).toBe('0a00')
    const bytes = (writer: ProtobufWriter) => {
      writer.delimiter(9, 2)
      writer.raw(Uint8Array.of(1, 2))
    }
    expect(written(bytes)).toBe('4a020102')
  })

  test('grow as needed, whatever is nested', () => {
    const text = 'x'.repeat(200)
    const nested = (writer: ProtobufWriter) =>
      writer.message(1, () =>
        writer.message(1, () => {
          for (let at = 0; at < 3; at++) writer.string(1, text)
        }),
      )
    expect(written(nested, 1)).toBe(written(nested, 2 ** 16))
    const inner = `0ac801${Buffer.from(text).toString('hex')}`.repeat(3)
    expect(written(nested, 1)).toBe(`0ae4040ae104${inner}`)
  })
})

/**
 * A graph as an ONNX model file: the bytes of a `ModelProto`.
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers), https://onnx.ai/onnx/repo-docs/IR.html
 */

import { EngineError } from '../errors.js'
import type { DType, Tensor } from '../tensor.js'
import type { Graph, Node } from './graph.js'
import { inferTypes } from './infer.js'
import { onnxDtype } from './onnx-dtypes.js'
import { domainOpsets, operators, opset } from './operators.js'
import { ProtobufWriter } from './protobuf-writer.js'
import type { Attribute, ValueType } from './value-type.js'

/** The version of the file format that came with operator set 20. */
const irVersion = 9

/** Protocol buffers address at most 2 GiB. */
const mostBytes = 2 ** 31 - 1

/** AttributeProto.AttributeType */
const attributeKinds = { float: 1, int: 2, string: 3, ints: 7, dtype: 2 } as const

export interface OnnxOptions {
  /** Weights to put into the file, by parameter name; parameters that are not among them stay inputs. */
  readonly initializers?: Readonly<Record<string, Tensor>>
  /** Types of the graph's values, when they are known already. */
  readonly types?: ReadonlyMap<string, ValueType>
}

/** @throws GRAPH_INVALID; SHAPE_MISMATCH when a weight is not of its parameter's type; MODEL_UNSUPPORTED beyond 2 GiB */
export function toOnnx(graph: Graph, { initializers = {}, types = inferTypes(graph) }: OnnxOptions = {}): Uint8Array {
  const weights = Object.entries(initializers).filter(([name]) => Object.hasOwn(graph.parameters, name))
  for (const [name, weight] of weights) checkWeight(name, weight, graph.parameters[name]!)
  const weightBytes = weights.reduce((sum, [, { data }]) => sum + data.byteLength, 0)
  if (weightBytes > mostBytes) {
    throw new EngineError('MODEL_UNSUPPORTED', {
      what: `An ONNX file with ${weightBytes} bytes of weights`,
      supported: `One file holds ${mostBytes}.`,
    })
  }
  const writer = new ProtobufWriter(weightBytes + 2 ** 16)
  writer.int(1, irVersion)
  writer.string(2, 'refract')
  writeOpset(writer, '', opset)
  for (const domain of new Set(graph.nodes.map(({ op }) => operators[op].domain))) {
    if (domain !== undefined) writeOpset(writer, domain, domainOpsets[domain])
  }
  writer.message(7, () => {
    for (const node of graph.nodes) writer.message(1, () => writeNode(writer, node))
    writer.string(2, graph.name)
    for (const [name, literal] of Object.entries(graph.constants)) writer.message(5, () => writeTensor(writer, name, literal))
    for (const [name, weight] of weights) writer.message(5, () => writeTensor(writer, name, weight))
    for (const [name, type] of Object.entries(graph.inputs)) writer.message(11, () => writeValue(writer, name, type))
    for (const [name, type] of Object.entries(graph.parameters)) {
      if (!Object.hasOwn(initializers, name)) writer.message(11, () => writeValue(writer, name, type))
    }
    for (const name of graph.outputs) writer.message(12, () => writeValue(writer, name, types.get(name)!))
    // With the lengths of inner values a runtime sees which of them can share memory. ONNX Runtime's own inference loses the symbols at
    // the first Reshape, and its search for memory to use again then grows with the square of the graph.
    for (const name of innerValues(graph)) writer.message(13, () => writeValue(writer, name, types.get(name)!))
  })
  return writer.bytes()
}

function writeOpset(writer: ProtobufWriter, domain: string, version: number): void {
  writer.message(8, () => {
    writer.string(1, domain)
    writer.int(2, version)
  })
}

function innerValues(graph: Graph): readonly string[] {
  const outputs = new Set(graph.outputs)
  return graph.nodes.flatMap((node) => node.outputs).filter((value) => !outputs.has(value))
}

function checkWeight(name: string, weight: Tensor, { dtype, shape }: ValueType): void {
  if (weight.dtype !== dtype || weight.shape.join() !== shape.join()) {
    throw new EngineError('SHAPE_MISMATCH', {
      what: `Weight "${name}" (${weight.dtype}; declared ${dtype})`,
      expected: shape,
      actual: weight.shape,
    })
  }
}

function writeNode(writer: ProtobufWriter, node: Node): void {
  for (const input of node.inputs) writer.string(1, input)
  for (const output of node.outputs) writer.string(2, output)
  // Backends name the node in their errors; its first output says more than a number.
  writer.string(3, node.outputs[0]!)
  writer.string(4, node.op)
  const { domain } = operators[node.op]
  if (domain !== undefined) writer.string(7, domain)
  for (const [name, value] of Object.entries(node.attributes)) {
    const { kind } = operators[node.op].attributes[name]!
    writer.message(5, () => writeAttribute(writer, { name, kind, value }))
  }
}

function writeAttribute(
  writer: ProtobufWriter,
  { name, kind, value }: { name: string; kind: keyof typeof attributeKinds; value: Attribute },
): void {
  writer.string(1, name)
  writer.int(20, attributeKinds[kind])
  if (kind === 'float') writer.float(2, value as number)
  else if (kind === 'int') writer.int(3, value as number)
  else if (kind === 'dtype') writer.int(3, onnxDtype[value as DType])
  else if (kind === 'string') writer.string(4, value as string)
  else if (kind === 'ints') for (const element of value as readonly number[]) writer.int(8, element)
  else kind satisfies never
}

function writeTensor(writer: ProtobufWriter, name: string, { dtype, shape, data }: Tensor): void {
  for (const length of shape) writer.int(1, length)
  writer.int(2, onnxDtype[dtype])
  writer.string(8, name)
  // Raw data is little-endian, as is every machine that Node runs on with a prebuilt backend.
  writer.data(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
}

function writeValue(writer: ProtobufWriter, name: string, { dtype, shape }: ValueType): void {
  writer.string(1, name)
  writer.message(2, () => {
    writer.message(1, () => {
      writer.int(1, onnxDtype[dtype])
      writer.message(2, () => {
        for (const dim of shape) {
          writer.message(1, () => {
            if (typeof dim === 'number') writer.int(1, dim)
            // Any string names a length: equal ones are equal lengths.
            else writer.string(2, dim)
          })
        }
      })
    })
  })
}

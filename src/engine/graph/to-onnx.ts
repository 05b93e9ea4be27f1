/**
 * A graph as an ONNX model file: the bytes of a `ModelProto`. Operators of our own are written out (write-out.ts).
 * @see https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers), https://onnx.ai/onnx/repo-docs/IR.html
 */

import { EngineError } from '../errors.js'
import { bytesPerElement, elementCount, type Tensor } from '../tensor.js'
import type { Graph, Node } from './graph.js'
import { type ElementType, halve, toFloat16, type WrittenTypes } from './half.js'
import { inferTypes } from './infer.js'
import { onnxDtype } from './onnx-dtypes.js'
import { domainOpsets, operators, opset } from './operators.js'
import { ProtobufWriter } from './protobuf-writer.js'
import type { Attribute, ValueType } from './value-type.js'
import { writeOutOwn } from './write-out.js'

/** The version of the file format that came with operator set 20. */
const irVersion = 9

/** Protocol buffers address at most 2 GiB. */
const mostBytes = 2 ** 31 - 1

/** AttributeProto.AttributeType */
const attributeKinds = { float: 1, int: 2, string: 3, ints: 7, dtype: 2 } as const

/** A file in pieces, so that weights need not be in memory together: bytes, or the place of a parameter's elements (little-endian). */
export interface OnnxFile {
  readonly byteLength: number
  readonly parts: readonly (Uint8Array | WeightPlace)[]
}

export interface WeightPlace {
  readonly parameter: string
  readonly byteLength: number
  /** Whether the file has it in float16. */
  readonly inHalf?: boolean
}

interface FileOptions {
  /** Parameters whose elements are in the file; the others stay inputs. */
  readonly holds?: (parameter: string) => boolean
  /** Beside the graph, for whoever opens the file. */
  readonly metadata?: Readonly<Record<string, string>>
  readonly producerVersion?: string
  /** Types of the graph's values, when they are known already. */
  readonly types?: ReadonlyMap<string, ValueType>
  /** Whether products are computed in float16 (half.ts). */
  readonly inHalf?: boolean
}

/** @throws GRAPH_INVALID; MODEL_UNSUPPORTED beyond 2 GiB */
export function onnxFile(
  given: Graph,
  { holds = () => false, metadata = {}, producerVersion, types: known, inHalf = false }: FileOptions,
): OnnxFile {
  const whole = writeOutOwn(given)
  const inferred = whole === given && known ? known : inferTypes(whole)
  const { graph, types }: { graph: Graph; types: WrittenTypes } = inHalf
    ? halve(whole, { types: inferred, holds })
    : { graph: whole, types: inferred }
  const header = new ProtobufWriter(2 ** 8)
  header.int(1, irVersion)
  header.string(2, 'refract')
  if (producerVersion !== undefined) header.string(3, producerVersion)
  writeOpset(header, '', opset)
  for (const domain of new Set(graph.nodes.map(({ op }) => operators[op].domain))) {
    if (domain !== undefined && domain !== 'refract') writeOpset(header, domain, domainOpsets[domain])
  }
  const nodes = new ProtobufWriter()
  for (const node of graph.nodes) nodes.message(1, () => writeNode(nodes, node))
  nodes.string(2, graph.name)
  for (const [name, literal] of Object.entries(graph.constants)) {
    nodes.message(5, () => writeTensor(nodes, name, { ...literal, dtype: types.get(name)!.dtype }))
  }
  const parameters = Object.entries(graph.parameters)
  const held = parameters.filter(([name]) => holds(name)).flatMap(([name]) => initializer(name, types.get(name)!))
  const values = new ProtobufWriter()
  for (const [name] of [...Object.entries(graph.inputs), ...parameters.filter(([name]) => !holds(name))]) {
    values.message(11, () => writeValue(values, name, types.get(name)!))
  }
  for (const name of graph.outputs) values.message(12, () => writeValue(values, name, types.get(name)!))
  // With the lengths of inner values a runtime sees which of them can share memory. ONNX Runtime's own inference loses the symbols at
  // the first Reshape, and its search for memory to use again then grows with the square of the graph.
  for (const name of innerValues(graph)) values.message(13, () => writeValue(values, name, types.get(name)!))
  const body = [nodes.bytes(), ...held, values.bytes()]
  header.delimiter(7, lengthOf(body))
  const trailer = new ProtobufWriter(2 ** 8)
  for (const [key, value] of Object.entries(metadata)) {
    trailer.message(14, () => {
      trailer.string(1, key)
      trailer.string(2, value)
    })
  }
  const parts = [header.bytes(), ...body, trailer.bytes()]
  const byteLength = lengthOf(parts)
  if (byteLength > mostBytes) {
    throw new EngineError('MODEL_UNSUPPORTED', {
      what: `An ONNX file of ${byteLength} bytes`,
      supported: `A file holds ${mostBytes}; leave the weights out of it.`,
    })
  }
  return { byteLength, parts }
}

const lengthOf = (parts: OnnxFile['parts']) => parts.reduce((sum, { byteLength }) => sum + byteLength, 0)

export interface OnnxOptions extends Pick<FileOptions, 'types' | 'inHalf'> {
  /** Weights to put into the file, by parameter name; parameters that are not among them stay inputs. */
  readonly initializers?: Readonly<Record<string, Tensor>>
}

/** @throws GRAPH_INVALID; SHAPE_MISMATCH when a weight is not of its parameter's type; MODEL_UNSUPPORTED beyond 2 GiB */
export function toOnnx(graph: Graph, { initializers = {}, ...options }: OnnxOptions = {}): Uint8Array {
  const holds = (name: string) => Object.hasOwn(initializers, name)
  for (const [name, type] of Object.entries(graph.parameters)) if (holds(name)) checkWeight(name, initializers[name]!, type)
  const { byteLength, parts } = onnxFile(graph, { ...options, holds })
  const bytes = new Uint8Array(byteLength)
  let at = 0
  for (const part of parts) {
    bytes.set('parameter' in part ? placedBytes(part, initializers[part.parameter]!) : part, at)
    at += part.byteLength
  }
  return bytes
}

/** A TensorProto whose elements are somebody else's: what stands before them, and their place. */
function initializer(parameter: string, { dtype, shape }: WrittenType): [Uint8Array, WeightPlace] {
  const byteLength = elementLength(dtype) * elementCount(shape as readonly number[])
  const tensor = new ProtobufWriter(2 ** 8)
  writeTensorHead(tensor, parameter, { dtype, shape: shape as readonly number[], byteLength })
  const head = new ProtobufWriter(2 ** 8)
  head.delimiter(5, tensor.bytes().length + byteLength)
  head.raw(tensor.bytes())
  return [head.bytes(), { parameter, byteLength, inHalf: dtype === 'float16' }]
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
  else if (kind === 'dtype') writer.int(3, elementType(value as ElementType))
  else if (kind === 'string') writer.string(4, value as string)
  else if (kind === 'ints') for (const element of value as readonly number[]) writer.int(8, element)
  else kind satisfies never
}

function writeTensor(writer: ProtobufWriter, name: string, { dtype, shape, data }: Omit<Tensor, 'dtype'> & { dtype: ElementType }): void {
  const bytes = elementBytes(dtype, { data })
  writeTensorHead(writer, name, { dtype, shape, byteLength: bytes.byteLength })
  writer.raw(bytes)
}

function writeTensorHead(
  writer: ProtobufWriter,
  name: string,
  { dtype, shape, byteLength }: { readonly dtype: ElementType; readonly shape: readonly number[]; readonly byteLength: number },
): void {
  for (const length of shape) writer.int(1, length)
  writer.int(2, elementType(dtype))
  writer.string(8, name)
  writer.delimiter(9, byteLength)
}

const placedBytes = ({ inHalf }: WeightPlace, { dtype, data }: Tensor) => elementBytes(inHalf ? 'float16' : dtype, { data })

/** @see TensorProto.DataType in onnx.proto */
const elementType = (dtype: ElementType) => (dtype === 'float16' ? 10 : onnxDtype[dtype])

const elementLength = (dtype: ElementType) => (dtype === 'float16' ? 2 : bytesPerElement[dtype])

/** Raw data is little-endian, as is every machine that Node runs on with a prebuilt backend. */
function elementBytes(dtype: ElementType, { data }: Pick<Tensor, 'data'>): Uint8Array {
  const { buffer, byteOffset, byteLength } = dtype === 'float16' ? toFloat16(data as Float32Array) : data
  return new Uint8Array(buffer, byteOffset, byteLength)
}

type WrittenType = NonNullable<ReturnType<WrittenTypes['get']>>

function writeValue(writer: ProtobufWriter, name: string, { dtype, shape }: WrittenType): void {
  writer.string(1, name)
  writer.message(2, () => {
    writer.message(1, () => {
      writer.int(1, elementType(dtype))
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

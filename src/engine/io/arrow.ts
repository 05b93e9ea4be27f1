/**
 * Named tensors as an Arrow IPC stream: one record batch of one row for each tensor, so that a reader can take them one at a time.
 *
 * | column  | type          | |
 * |---------|---------------|---|
 * | `name`  | utf8          | `blocks.0.hook_resid_post` |
 * | `dtype` | utf8          | `float32`, `int64`, ...: also numpy's name of it |
 * | `shape` | list of int32 | outermost axis first; empty for a scalar |
 * | `data`  | large_binary  | the elements, row-major and little-endian; booleans take a byte each |
 *
 * Tensors of different types and shapes cannot share a numeric column, and bytes are read by numpy without a copy:
 * `numpy.frombuffer(batch["data"][0].as_buffer(), batch["dtype"][0].as_py()).reshape(batch["shape"][0].as_py())`.
 *
 * @see https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
 */

import { Field, Int32, LargeBinary, List, makeData, RecordBatch, RecordBatchStreamWriter, Schema, Struct, Utf8 } from 'apache-arrow'
import { EngineError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { tensorBytes } from './element-types.js'
import type { NamedTensors } from './named-tensors.js'

type Columns = { name: Utf8; dtype: Utf8; shape: List<Int32>; data: LargeBinary }

const lengths = new Field('length', new Int32(), false)

const schema = new Schema<Columns>([
  new Field('name', new Utf8(), false),
  new Field('dtype', new Utf8(), false),
  new Field('shape', new List(lengths), false),
  new Field('data', new LargeBinary(), false),
])

/** The library counts the bytes of a column in 32 bits. */
const maxTensorBytes = 2 ** 31 - 8

/**
 * An Arrow stream as chunks to send one after another; the tensors' own bytes are among them, not copied.
 *
 * @throws INPUT_INVALID when a tensor has 2 GiB or more
 */
export async function arrowChunks(tensors: NamedTensors): Promise<Uint8Array[]> {
  const writer = new RecordBatchStreamWriter<Columns>()
  writer.reset(undefined, schema)
  for (const [name, tensor] of tensors) writer.write(batchOf(name, tensor))
  writer.close()
  const chunks: Uint8Array[] = []
  for await (const chunk of writer) chunks.push(chunk)
  return chunks
}

function batchOf(name: string, tensor: Tensor): RecordBatch<Columns> {
  const shape = makeData({ type: lengths.type, data: Int32Array.from(tensor.shape) })
  const bytes = tensorBytes(tensor)
  if (bytes.byteLength > maxTensorBytes) {
    throw new EngineError('INPUT_INVALID', {
      path: name,
      problem: 'has 2 GiB or more, too much for an Arrow stream; ask for npz or safetensors.',
    })
  }
  const children = [
    textData(name),
    textData(tensor.dtype),
    makeData({ type: new List(lengths), length: 1, valueOffsets: Int32Array.of(0, tensor.shape.length), child: shape }),
    makeData({ type: new LargeBinary(), length: 1, valueOffsets: BigInt64Array.of(0n, BigInt(bytes.byteLength)), data: bytes }),
  ]
  return new RecordBatch(schema, makeData({ type: new Struct<Columns>(schema.fields), length: 1, nullCount: 0, children }))
}

function textData(text: string) {
  const bytes = Buffer.from(text)
  return makeData({ type: new Utf8(), length: 1, valueOffsets: Int32Array.of(0, bytes.length), data: bytes })
}

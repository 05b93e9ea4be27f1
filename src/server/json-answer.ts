/**
 * A JSON answer that may hold large tensors, written in pieces so that no single step keeps the event loop for long.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { tensorBytes } from '../engine/io/element-types.js'
import { toJsonTensor } from '../engine/io/json-tensor.js'
import { elementCount, isTensor, type Tensor } from '../engine/tensor.js'

export type Encoding = 'json' | 'base64'

/** A few milliseconds of formatting. */
const NUMBERS_PER_TURN = 4096
/** Text that is gathered before others have their turn. */
const CHARACTERS_PER_TURN = 16_384
/** A multiple of 3, so that the pieces' base64 can be joined. */
const BYTES_PER_PIECE = 3 * 2 ** 16

/** `value` as UTF-8 JSON; tensors in it are written as `toJsonTensor` has them. @throws the signal's reason once it aborts */
export async function jsonChunks(value: unknown, { encoding, signal }: { encoding: Encoding; signal: AbortSignal }): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  let text = ''
  for (const piece of pieces(value, encoding)) {
    text += piece
    if (text.length < CHARACTERS_PER_TURN) continue
    chunks.push(Buffer.from(text))
    text = ''
    await nextTurn()
    signal.throwIfAborted()
  }
  chunks.push(Buffer.from(text))
  return chunks
}

function* pieces(value: unknown, encoding: Encoding): Generator<string> {
  if (isTensor(value)) {
    yield `{"shape":${JSON.stringify(value.shape)},"dtype":"${value.dtype}",`
    if (encoding === 'base64') yield* base64(value)
    else {
      yield '"data":'
      yield* nested(value)
    }
    yield '}'
  } else if (Array.isArray(value)) {
    if (isShortRow(value)) {
      yield JSON.stringify(value)
      return
    }
    yield '['
    for (const [index, item] of value.entries()) {
      if (index > 0) yield ','
      yield* pieces(item, encoding)
    }
    yield ']'
  } else if (typeof value === 'object' && value !== null) {
    let before = '{'
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue
      yield `${before}${JSON.stringify(key)}:`
      before = ','
      yield* pieces(item, encoding)
    }
    yield before === '{' ? '{}' : '}'
  } else yield JSON.stringify(value) ?? 'null'
}

/** Numbers that are written at once. */
const isShortRow = (value: readonly unknown[]) => value.length <= NUMBERS_PER_TURN && value.every((item) => typeof item === 'number')

function* base64(tensor: Tensor): Generator<string> {
  const { buffer, byteOffset, byteLength } = tensorBytes(tensor)
  const bytes = Buffer.from(buffer, byteOffset, byteLength)
  yield '"encoding":"base64","data":"'
  for (let from = 0; from < bytes.length; from += BYTES_PER_PIECE) {
    yield bytes.toString('base64', from, Math.min(from + BYTES_PER_PIECE, bytes.length))
  }
  yield '"'
}

/** Nested lists, some rows of the first axis at a time. */
function* nested(tensor: Tensor): Generator<string> {
  const [length = 0, ...inner] = tensor.shape
  const rowLength = elementCount(inner)
  if (tensor.data.length <= NUMBERS_PER_TURN) {
    yield JSON.stringify(toJsonTensor(tensor).data)
    return
  }
  const nRows = Math.max(1, Math.floor(NUMBERS_PER_TURN / rowLength))
  for (let from = 0; from < length; from += nRows) {
    const to = Math.min(from + nRows, length)
    const data = tensor.data.subarray(from * rowLength, to * rowLength)
    yield from === 0 ? '[' : ','
    if (rowLength > NUMBERS_PER_TURN) yield* nested({ ...tensor, shape: inner, data } as Tensor)
    else yield JSON.stringify(toJsonTensor({ ...tensor, shape: [to - from, ...inner], data } as Tensor).data).slice(1, -1)
  }
  yield ']'
}

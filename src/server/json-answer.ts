/**
 * A JSON answer that may hold large tensors, written in pieces so that no single step keeps the event loop for long.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { tensorBytes } from '../engine/io/element-types.js'
import { toJsonTensor } from '../engine/io/json-tensor.js'
import { elementCount, isTensor, type Tensor } from '../engine/tensor.js'

export type Encoding = 'json' | 'base64'

/** Less than a millisecond of formatting. */
const VALUES_PER_PIECE = 1024
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
  } else if (isSmall(value)) {
    yield JSON.stringify(value) ?? 'null'
  } else if (Array.isArray(value)) {
    yield* listPieces(value, encoding)
  } else {
    let before = '{'
    for (const [key, item] of Object.entries(value as object)) {
      if (item === undefined) continue
      yield `${before}${JSON.stringify(key)}:`
      before = ','
      yield* pieces(item, encoding)
    }
    yield before === '{' ? '{}' : '}'
  }
}

/** As many items at once as there is room for. */
function* listPieces(list: readonly unknown[], encoding: Encoding): Generator<string> {
  let before = '['
  for (let from = 0; from < list.length; ) {
    let to = from
    for (let room = roomAfter(list[to], VALUES_PER_PIECE); to < list.length && room >= 0; room = roomAfter(list[to], room)) to++
    yield before
    if (to > from) yield JSON.stringify(list.slice(from, to)).slice(1, -1)
    else yield* pieces(list[from], encoding)
    before = ','
    from = Math.max(to, from + 1)
  }
  yield before === '[' ? '[]' : ']'
}

/** Whether it is written at once: a bounded number of values, none of them a tensor. */
const isSmall = (value: unknown) => roomAfter(value, VALUES_PER_PIECE) >= 0

/** How many more values there is room for after this one; below 0 when there was not enough, and for a tensor. */
function roomAfter(value: unknown, room: number): number {
  if (typeof value !== 'object' || value === null || room <= 0) return room - 1
  if (isTensor(value)) return -1
  let left = room - 1
  if (Array.isArray(value)) {
    for (let at = 0; at < value.length && left >= 0; at++) left = roomAfter(value[at], left)
    return left
  }
  for (const key in value) {
    left = roomAfter((value as Readonly<Record<string, unknown>>)[key], left)
    if (left < 0) break
  }
  return left
}

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
  if (tensor.data.length <= VALUES_PER_PIECE) {
    yield JSON.stringify(toJsonTensor(tensor).data)
    return
  }
  const nRows = Math.max(1, Math.floor(VALUES_PER_PIECE / rowLength))
  for (let from = 0; from < length; from += nRows) {
    const to = Math.min(from + nRows, length)
    const data = tensor.data.subarray(from * rowLength, to * rowLength)
    yield from === 0 ? '[' : ','
    if (rowLength > VALUES_PER_PIECE) yield* nested({ ...tensor, shape: inner, data } as Tensor)
    else yield JSON.stringify(toJsonTensor({ ...tensor, shape: [to - from, ...inner], data } as Tensor).data).slice(1, -1)
  }
  yield ']'
}

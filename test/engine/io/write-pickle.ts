/** Pickles and torch archives written by hand, opcode by opcode: what no library would write, and an attacker would. */

import { type ByteSource, bytesSource } from '../../../src/engine/io/byte-source.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { zipChunks } from '../../../src/engine/io/zip-writer.js'

type Part = string | Uint8Array | readonly Part[]

/** Opcodes as the characters they are (latin1), with whatever bytes between them. */
export function pickle(...parts: Part[]): Uint8Array {
  const bytes = (part: Part): Uint8Array =>
    typeof part === 'string' ? Buffer.from(part, 'latin1') : part instanceof Uint8Array ? part : Buffer.concat(part.map(bytes))
  return new Uint8Array(Buffer.concat(parts.map(bytes)))
}

export const global = (module: string, name: string): Part => `c${module}\n${name}\n`
export const text = (value: string): Part => ['X', u32(Buffer.byteLength(value)), new Uint8Array(Buffer.from(value))]
export const int = (value: number): Part => (Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? ['J', u32(value)] : `I${value}\n`)
export const tuple = (...items: Part[]): Part => ['(', items, 't']
/** A call of a global with positional arguments. */
export const call = (callee: Part, ...args: Part[]): Part => [callee, tuple(...args), 'R']
export const dictionary = (...items: [string, Part][]): Part => ['}(', items.map(([key, value]) => [text(key), value]), 'u']

export function u32(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer)
}

export function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer)
}

export const storage = (key: string, numel: number, type = 'FloatStorage'): Part => [
  tuple(text('storage'), global('torch', type), text(key), text('cpu'), int(numel)),
  'Q',
]

export interface TensorParts {
  readonly from?: Part
  readonly offset?: number
  readonly shape?: readonly number[]
  readonly strides?: readonly number[]
  readonly metadata?: Part
}

export function tensor({ from = storage('0', 4), offset = 0, shape = [4], strides = [1], metadata }: TensorParts = {}): Part {
  const args = [from, int(offset), tuple(...shape.map(int)), tuple(...strides.map(int)), '\x89', call(global('collections', 'OrderedDict'))]
  return call(global('torch._utils', '_rebuild_tensor_v2'), ...args, ...(metadata === undefined ? [] : [metadata]))
}

/** A torch archive around a pickle, with one storage of four float32 unless others are given. */
export function torchArchive(
  data: Uint8Array,
  storages: Record<string, Uint8Array> = { 0: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) },
): ByteSource {
  const entries = [{ name: 'archive/data.pkl', chunks: [data] }]
  for (const [key, bytes] of Object.entries(storages)) entries.push({ name: `archive/data/${key}`, chunks: [bytes] })
  return bytesSource(joinChunks(zipChunks(entries)))
}

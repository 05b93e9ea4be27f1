/** A file that is sent while the weights that it holds are read, a few at a time. */

import { setTimeout } from 'node:timers/promises'
import { EngineError } from '../errors.js'
import type { OnnxFile, WeightPlace } from '../graph/to-onnx.js'
import type { Tensor } from '../tensor.js'

/** Weights are asked for together up to this many bytes; a larger one comes by itself. */
const AT_ONCE = 32 * 2 ** 20

export type ReadWeights = (names: readonly string[], bytes: number) => Promise<readonly Tensor[]>

export async function* exportChunks({ parts }: OnnxFile, read: ReadWeights, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < parts.length; ) {
    const end = endOfGroup(parts, at)
    const group = parts.slice(at, end)
    const places = group.filter((part): part is WeightPlace => 'parameter' in part)
    const names = places.map(({ parameter }) => parameter)
    const weights = (places.length === 0 ? [] : await patiently(() => read(names, sizeOf(places)), signal)).values()
    for (const part of group) yield 'parameter' in part ? bytesOf(weights.next().value!) : part
    at = end
  }
}

function endOfGroup(parts: OnnxFile['parts'], start: number): number {
  let bytes = 0
  for (let at = start; at < parts.length; at++) {
    const part = parts[at]!
    if (!('parameter' in part)) continue
    if (bytes > 0 && bytes + part.byteLength > AT_ONCE) return at
    bytes += part.byteLength
  }
  return parts.length
}

/** What is half sent cannot be refused any more: it waits for its turn. */
async function patiently<T>(attempt: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof EngineError && error.code === 'QUEUE_FULL')) throw error
      const { retryAfterSeconds } = (error as EngineError<'QUEUE_FULL'>).details
      await setTimeout(1000 * retryAfterSeconds, undefined, { ...(signal && { signal }) })
    }
  }
}

const sizeOf = (places: readonly WeightPlace[]) => places.reduce((sum, { byteLength }) => sum + byteLength, 0)

const bytesOf = ({ data }: Tensor) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

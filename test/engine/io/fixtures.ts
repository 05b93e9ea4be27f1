/** Files that the reference libraries wrote, and what is in them. Made by test/fixtures/make/io.py. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type ByteSource, bytesSource } from '../../../src/engine/io/byte-source.js'
import { tensorBytes } from '../../../src/engine/io/element-types.js'
import type { Tensor } from '../../../src/engine/tensor.js'

export const fixtureFolder = join(import.meta.dirname, '../../fixtures/io')

export function fixtureBytes(file: string): Uint8Array {
  return new Uint8Array(readFileSync(join(fixtureFolder, file)))
}

export function fixtureSource(file: string): ByteSource {
  return bytesSource(fixtureBytes(file))
}

export interface Expected {
  readonly dtype: string
  readonly shape: readonly number[]
  /** base64, little-endian */
  readonly bytes: string
}

const expected = JSON.parse(readFileSync(join(fixtureFolder, 'expected.json'), 'utf8')) as Record<string, Record<string, Expected>>

export function expectedTensors(file: string): Record<string, Expected> {
  return expected[file]!
}

/** Equal in dtype, shape and every bit; a float NaN equals any other, since hardware may quiet the one that Python converted. */
export function expectTensor(actual: Tensor, { dtype, shape, bytes }: Expected, name = ''): void {
  expect({ name, dtype: actual.dtype, shape: actual.shape }).toEqual({ name, dtype, shape })
  const wanted = new Uint8Array(Buffer.from(bytes, 'base64'))
  expect(bits(actual.dtype, tensorBytes(actual)), name).toEqual(bits(dtype, wanted))
}

function bits(dtype: string, bytes: Uint8Array): number[] {
  if (dtype !== 'float32') return [...bytes]
  const words = new Uint32Array(bytes.slice().buffer)
  return Array.from(words, (word) => ((word & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : word))
}

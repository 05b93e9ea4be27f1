import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'

/** What `test/fixtures/make/image.py` wrote: pictures, and what Pillow and the reference libraries make of them. */
export const imageFixtures = path.join(import.meta.dirname, '../../fixtures/image')

export function readFixture(...names: string[]): Uint8Array {
  return readFileSync(path.join(imageFixtures, ...names))
}

export function readGolden<T>(name: string): T {
  return JSON.parse(readFileSync(path.join(imageFixtures, name), 'utf8')) as T
}

export function sha256(data: Uint8Array | Float32Array): string {
  return createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex')
}

export const limits = { maxPixels: 50_000_000 }

/** The same bytes as the script's `noise`. */
export function noise(length: number, seed: number): Uint8Array {
  let state = seed
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state >>> 24
  })
}

/**
 * The result of a shard as bytes: what it was measured on and with, and what was measured, one file for each thing. Layout: the length of the
 * header (uint32, little endian), the header as JSON, the files one after the other.
 */

import { isDeepStrictEqual } from 'node:util'
import { EngineError } from '../../../engine/errors.js'
import { damaged, invalidFile } from '../../../engine/io/refusals.js'
import type { StudyShard } from './study-plan.js'

/** What must be the same in all shards, or they are not of the same thing. */
export interface StudyIdentity {
  readonly datasetHash: string
  readonly modelSha256: string
  /** Absent: pictures are not compared, or by the model itself. */
  readonly imageEncoderSha256?: string
  readonly saeSha256: Readonly<Record<string, string>>
}

export interface PartHeader {
  readonly shard: StudyShard
  readonly of: StudyIdentity
  readonly backend: string
  /** What it was computed in. */
  readonly dtype: string
  readonly codeVersion: string
}

export interface Part extends PartHeader {
  readonly files: readonly Uint8Array[]
}

const LENGTH_BYTES = 4

export function partToBytes({ files, ...header }: Part): Uint8Array {
  const json = Buffer.from(JSON.stringify({ ...header, lengths: files.map((file) => file.byteLength) }))
  const length = Buffer.alloc(LENGTH_BYTES)
  length.writeUInt32LE(json.byteLength)
  return Buffer.concat([length, json, ...files])
}

/** @throws FILE_INVALID */
export function partFromBytes(bytes: Uint8Array): Part {
  try {
    return readPart(bytes)
  } catch (error) {
    throw damaged('the result of a shard', error)
  }
}

function readPart(bytes: Uint8Array): Part {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = LENGTH_BYTES + buffer.readUInt32LE(0)
  const { lengths, ...header } = JSON.parse(buffer.toString('utf8', LENGTH_BYTES, start)) as PartHeader & { lengths: readonly number[] }
  let from = start
  const files = lengths.map((length) => {
    from += length
    return bytes.subarray(from - length, from)
  })
  if (from !== bytes.byteLength) throw invalidFile('the result of a shard', `has ${bytes.byteLength} bytes and says that it has ${from}.`)
  return { ...header, files }
}

/** @throws CHECKPOINT_MISMATCH when something was replaced while the job ran */
export function requireSame(part: PartHeader, now: StudyIdentity): void {
  const problems = [
    ...(part.of.datasetHash === now.datasetHash ? [] : ['the data set has other content now']),
    ...(part.of.modelSha256 === now.modelSha256 ? [] : ['the model has other weights now']),
    ...(part.of.imageEncoderSha256 === now.imageEncoderSha256 ? [] : ['the image encoder has other weights now']),
    ...Object.entries(part.of.saeSha256).flatMap(([id, sha256]) => (now.saeSha256[id] === sha256 ? [] : [`${id} has other weights now`])),
  ]
  if (problems.length > 0) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of this job', problems })
}

/** What the shards were computed with; several where workers differ. */
export class Makers {
  readonly #backends = new Set<string>()
  readonly #dtypes = new Set<string>()
  readonly #versions = new Set<string>()

  add({ backend, dtype, codeVersion }: Pick<PartHeader, 'backend' | 'dtype' | 'codeVersion'>): void {
    this.#backends.add(backend)
    this.#dtypes.add(dtype)
    this.#versions.add(codeVersion)
  }

  get backend(): string {
    return [...this.#backends].sort().join(', ')
  }

  get dtype(): string {
    return [...this.#dtypes].sort().join(', ')
  }

  get codeVersion(): string {
    return [...this.#versions].sort().join(', ')
  }
}

export const sameGroup = (a: StudyShard, b: StudyShard): boolean => isDeepStrictEqual(a.saes, b.saes)

/**
 * Rows of `features` and `feature_statistics` in PostgreSQL's binary COPY format, and a set's load as one transaction.
 * @see https://www.postgresql.org/docs/current/sql-copy.html
 */

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { type FeatureRecord, featureStatistics } from '../engine/evaluation/feature-record.js'
import { ByteWriter } from './byte-writer.js'
import { storedBytes, writeFeature } from './feature-codec.js'
import { orderOf } from './feature-order.js'
import type { NewFeatureSet } from './feature-sets.js'
import { databaseError } from './postgres/database-errors.js'

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const TRAILER = Buffer.from([0xff, 0xff])
/** Of a row, before its data: how many columns, and each column with its length before it. */
const ROW_HEADER_BYTES = 2 + 4 + 4 + 4 + 4 + 4
const CHUNK_BYTES = 256 * 1024

/**
 * Puts a set and its features in the place of what was there for this SAE and data set, in one transaction.
 * @returns the id of the set
 * @throws DATABASE_UNAVAILABLE
 */
export async function copyFeatures(
  databaseUrl: string,
  set: NewFeatureSet,
  rows: Iterable<FeatureRecord> | AsyncIterable<FeatureRecord>,
): Promise<number> {
  const sql = postgres(databaseUrl, { max: 1, connect_timeout: 10, onnotice: () => {} })
  try {
    return await sql.begin(async (transaction) => {
      const { saeId, dataset, width, about, seed, dtype, backend, codeVersion, measuredAt, embeddings } = set
      // of two loads at once, the second waits and replaces what the first has made
      await transaction`select id from saes where id = ${saeId} for update`
      await transaction`delete from feature_sets where sae_id = ${saeId} and dataset_id = ${dataset.id}`
      const [{ id }] = await transaction<[{ id: number }]>`
        insert into feature_sets
          (sae_id, dataset_id, dataset_hash, width, statistic_names, about, seed, dtype, backend, code_version, measured_at,
           embeddings_sha256, embeddings_place)
        values
          (${saeId}, ${dataset.id}, ${dataset.hash}, ${width}, ${featureStatistics}, ${transaction.json(about as never)}, ${seed},
           ${dtype}, ${backend}, ${codeVersion}, ${measuredAt}, ${embeddings?.sha256 ?? null}, ${embeddings?.place ?? null})
        returning id`
      const statistics = featureStatistics.map(() => new Float32Array(width))
      const copy = await transaction`copy features (set_id, index, data) from stdin with (format binary)`.writable()
      await pipeline(Readable.from(copyChunks({ id, width, rows, statistics }), { objectMode: false }), copy)
      const order = await transaction`
        copy feature_statistics (set_id, name, values, ascending, defined) from stdin with (format binary)`.writable()
      await pipeline(Readable.from(statisticChunks(id, statistics), { objectMode: false }), order)
      return id
    })
  } catch (error) {
    throw databaseError(error, databaseUrl)
  } finally {
    await sql.end({ timeout: 2 })
  }
}

interface CopyParts {
  /** Of the set. */
  readonly id: number
  readonly width: number
  readonly rows: Iterable<FeatureRecord> | AsyncIterable<FeatureRecord>
  /** Filled on the way, each `[width]`. */
  readonly statistics: readonly Float32Array<ArrayBuffer>[]
}

async function* copyChunks({ id, width, rows, statistics }: CopyParts) {
  const seen = new Uint8Array(width)
  let count = 0
  const writer = new ByteWriter(2 * CHUNK_BYTES)
  const add = (feature: FeatureRecord) => {
    const { index } = feature
    if (!(index >= 0 && index < width)) throw new Error(`Invariant violated: feature ${index} of ${width}`)
    if (seen[index] === 1) throw new Error(`Invariant violated: feature ${index} comes twice`)
    seen[index] = 1
    count++
    for (let at = 0; at < statistics.length; at++) statistics[at]![index] = feature[featureStatistics[at]!] ?? Number.NaN
    writeRow(writer, { id, feature })
  }
  yield SIGNATURE
  // `for await` over what is not asynchronous would wait once a row
  if (Symbol.iterator in rows) {
    for (const feature of rows) {
      add(feature)
      if (writer.length >= CHUNK_BYTES) yield writer.take()
    }
  } else {
    for await (const feature of rows) {
      add(feature)
      if (writer.length >= CHUNK_BYTES) yield writer.take()
    }
  }
  if (count !== width) throw new Error(`Invariant violated: ${count} of ${width} features were given`)
  yield writer.take()
  yield TRAILER
}

function writeRow(writer: ByteWriter, { id, feature }: { readonly id: number; readonly feature: FeatureRecord }): void {
  const bytes = storedBytes(feature)
  const header = writer.claim(ROW_HEADER_BYTES)
  header.setInt16(0, 3)
  header.setInt32(2, 4)
  header.setInt32(6, id)
  header.setInt32(10, 4)
  header.setInt32(14, feature.index)
  header.setInt32(18, bytes)
  writeFeature(writer.claim(bytes), feature)
}

function* statisticChunks(id: number, statistics: readonly Float32Array<ArrayBuffer>[]) {
  yield SIGNATURE
  for (const [at, name] of featureStatistics.entries()) {
    const values = statistics[at]!
    const { ascending, defined } = orderOf(values)
    yield rowOf([int32(id), Buffer.from(name), Buffer.from(values.buffer), Buffer.from(ascending.buffer), int32(defined)])
  }
  yield TRAILER
}

function rowOf(columns: readonly Buffer[]): Buffer {
  const count = Buffer.alloc(2)
  count.writeInt16BE(columns.length)
  return Buffer.concat([count, ...columns.flatMap((column) => [int32(column.length), column])])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

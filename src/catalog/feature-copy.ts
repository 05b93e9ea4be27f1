/**
 * Rows of `features` as PostgreSQL's binary COPY format, and a set's load as one transaction.
 * @see https://www.postgresql.org/docs/current/sql-copy.html
 */

import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { encodeFeature } from './feature-codec.js'
import type { FeatureRow, NewFeatureSet } from './feature-sets.js'
import { databaseError } from './postgres/database-errors.js'

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const TRAILER = Buffer.from([0xff, 0xff])
/** Columns a row. */
const N_FIELDS = 3
/** Of a row, before its data. */
const ROW_HEADER_BYTES = 2 + 3 * 4 + 2 * 4
const CHUNK_BYTES = 256 * 1024

/**
 * Puts a set and its features in the place of what was there for this SAE and data set. All or nothing, and readers see the old set until
 * the new one is whole.
 * @returns the id of the set
 * @throws Error when the rows are not each feature once; DATABASE_UNAVAILABLE
 */
export async function copyFeatures(
  databaseUrl: string,
  set: NewFeatureSet,
  rows: Iterable<FeatureRow> | AsyncIterable<FeatureRow>,
): Promise<number> {
  const sql = postgres(databaseUrl, { max: 1, connect_timeout: 10, onnotice: () => {} })
  try {
    return await sql.begin(async (transaction) => {
      const { saeId, dataset, width, about, seed, dtype, backend, codeVersion, measuredAt, statistics } = set
      // of two loads at once, the second waits and replaces what the first has made
      await transaction`select id from saes where id = ${saeId} for update`
      await transaction`delete from feature_sets where sae_id = ${saeId} and dataset_id = ${dataset.id}`
      const [row] = await transaction<[{ id: number }]>`
        insert into feature_sets
          (sae_id, dataset_id, dataset_hash, width, statistic_names, about, seed, dtype, backend, code_version, measured_at)
        values
          (${saeId}, ${dataset.id}, ${dataset.hash}, ${width}, ${Object.keys(statistics)}, ${transaction.json(about as never)}, ${seed},
           ${dtype}, ${backend}, ${codeVersion}, ${measuredAt})
        returning id`
      for (const [name, values] of Object.entries(statistics)) {
        const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
        await transaction`insert into feature_statistics (set_id, name, values) values (${row.id}, ${name}, ${bytes})`
      }
      const copy = await transaction`copy features (set_id, index, data) from stdin with (format binary)`.writable()
      await pipeline(Readable.from(copyChunks(row.id, set, rows), { objectMode: false }), copy)
      return row.id
    })
  } catch (error) {
    throw databaseError(error, databaseUrl)
  } finally {
    await sql.end({ timeout: 2 })
  }
}

async function* copyChunks(setId: number, set: NewFeatureSet, rows: Iterable<FeatureRow> | AsyncIterable<FeatureRow>) {
  const { width, statistics } = set
  const columns = Object.values(statistics)
  const seen = new Uint8Array(width)
  let count = 0
  let chunk: Uint8Array[] = [SIGNATURE]
  let chunkBytes = 0
  for await (const { index, data } of rows) {
    if (!(index >= 0 && index < width) || seen[index] === 1)
      throw new Error(`Invariant violated: feature ${index} is there twice or too much`)
    seen[index] = 1
    count++
    const bytes = encodeFeature({ statistics: Float32Array.from(columns, (values) => values[index]!), data })
    const header = Buffer.allocUnsafe(ROW_HEADER_BYTES)
    header.writeInt16BE(N_FIELDS, 0)
    header.writeInt32BE(4, 2)
    header.writeInt32BE(setId, 6)
    header.writeInt32BE(4, 10)
    header.writeInt32BE(index, 14)
    header.writeInt32BE(bytes.byteLength, 18)
    chunk.push(header, bytes)
    chunkBytes += ROW_HEADER_BYTES + bytes.byteLength
    if (chunkBytes < CHUNK_BYTES) continue
    yield Buffer.concat(chunk)
    chunk = []
    chunkBytes = 0
  }
  if (count !== width) throw new Error(`Invariant violated: ${count} of ${width} features were given`)
  yield Buffer.concat([...chunk, TRAILER])
}

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { artifactsOf } from '../../../src/operations/jobs/artifacts.js'
import { comparedWithPublished, reportFiles } from '../../../src/operations/jobs/study/evaluation-report.js'
import { partFromBytes, partToBytes } from '../../../src/operations/jobs/study/part-bytes.js'
import { studyShards } from '../../../src/operations/jobs/study/study-plan.js'

const size = fc.record({
  bytes: fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 12 }),
  groupBytes: fc.integer({ min: 1, max: 200 }),
  nBatches: fc.integer({ min: 1, max: 300 }),
  nRanges: fc.integer({ min: 1, max: 64 }),
})

test('every batch is looked at once for every SAE, groups one after the other', () => {
  fc.assert(
    fc.property(size, (given) => {
      const shards = studyShards(given)
      const seen = shards.flatMap(({ saes, batches }) => span(saes).flatMap((sae) => span(batches).map((batch) => [sae, batch] as const)))
      expect(new Set(seen.map(String)).size).toBe(seen.length)
      expect(seen.length).toBe(given.bytes.length * given.nBatches)
      const starts = shards.map(({ saes, batches }) => saes[0] * 1000 + batches[0])
      expect(starts).toEqual([...starts].sort((a, b) => a - b))
      expect(shards.every(({ batches }) => span(batches).length > 0)).toBe(true)
    }),
  )
})

test('a group takes no more than there is, unless it is a single SAE', () => {
  fc.assert(
    fc.property(size, (given) => {
      for (const { saes } of studyShards(given)) {
        const own = given.bytes.slice(...saes)
        expect(own.length === 1 || own.reduce((sum, bytes) => sum + bytes, 0) <= given.groupBytes).toBe(true)
      }
    }),
  )
})

const span = ([from, to]: readonly [number, number]) => Array.from({ length: to - from }, (_, at) => from + at)

test('a part comes back from its bytes as it was', () => {
  const header = {
    shard: { saes: [0, 2], batches: [3, 9] },
    of: { datasetHash: 'é', modelSha256: 'b', saeSha256: { x: 'c' } },
    ...{ backend: 'onnxruntime', dtype: 'float32', codeVersion: '1' },
  } as const
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }), (files) => {
      const { files: read, ...rest } = partFromBytes(partToBytes({ ...header, files }))
      expect(rest).toEqual(header)
      expect(read.map((file) => [...file])).toEqual(files.map((file) => [...file]))
    }),
  )
})

test('a part that is damaged is refused', () => {
  const shard = { saes: [0, 2], batches: [3, 9] } as const
  const of = { datasetHash: 'a', modelSha256: 'b', saeSha256: {} }
  const bytes = Buffer.from(partToBytes({ shard, of, backend: 'b', dtype: 'float32', codeVersion: '1', files: [Uint8Array.of(1, 2)] }))
  const spoilt = Buffer.from(bytes)
  spoilt.write('<', 4)
  const longer = Buffer.concat([bytes, Buffer.of(0)])
  for (const each of [spoilt, longer, bytes.subarray(0, -1), bytes.subarray(0, 9), bytes.subarray(0, 2)]) {
    expect(() => partFromBytes(each)).toThrow(expect.objectContaining({ code: 'FILE_INVALID' }))
  }
})

const about = {
  ...{ model: 'm', dataset: { id: 'd', hash: 'h' }, nPictures: 3, nBatches: 1, batchSize: 3, seed: 0 },
  ...{ dtype: 'float32', backend: 'b', codeVersion: '1', measuredAt: null },
}

test('names in a table are quoted where they must be, and what is not defined is empty', () => {
  const l0 = { metric: 'l0', version: 1, value: null, flags: ['not-defined', 'few-batches'], n: 3 } as const
  const files = reportFiles([{ id: 'a,"b"', metrics: [l0], published: [] }], about)
  expect(files['metrics.csv']!.split('\r\n')[1]).toBe('"a,""b""",l0,1,latents,,,,3,not-defined few-batches,,,')
  expect(Object.keys(files)).toEqual(['report.json', 'metrics.csv'])
})

test('a published value is compared with the same version of the same metric only', () => {
  const published = (change: object) =>
    ({ saeId: 's', metric: 'l0', version: 1, value: 4, flags: [], source: 'published', dataset: null, ...change }) as never
  const l0 = { metric: 'l0', version: 1, value: 5, low: 3, high: 7, flags: [], n: 3 }
  const others = [published({ version: 2 }), published({ metric: 'image-l0' }), published({ value: null })]
  expect(comparedWithPublished([l0], others)).toEqual([])
  expect(comparedWithPublished([l0], [published({}), published({ value: 8 })])).toMatchObject([
    { published: 4, difference: 1, isInInterval: true },
    { published: 8, difference: -3, isInInterval: false },
  ])
})

test('of a result that names no files, or names them in another way, there are none', () => {
  for (const result of [undefined, null, 3, [], {}, { artifacts: 'x' }, { artifacts: [null, { name: 'x', bytes: 1, sha256: '../x' }] }]) {
    expect(artifactsOf(result as never)).toEqual([])
  }
})

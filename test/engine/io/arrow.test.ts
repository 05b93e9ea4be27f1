import { RecordBatchReader, tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arrowChunks } from '../../../src/engine/io/arrow.js'
import { decodeElements } from '../../../src/engine/io/element-types.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { type DType, float32, type Tensor } from '../../../src/engine/tensor.js'
import { arbitraryTensors } from './arbitrary-tensors.js'

test('an Arrow stream holds one batch for each tensor, and its columns give it back', async () => {
  await fc.assert(
    fc.asyncProperty(arbitraryTensors, async (tensors) => {
      const bytes = new Uint8Array(joinChunks(await arrowChunks(tensors)))
      // The reader makes an empty batch of a stream without any.
      const lengths = [...RecordBatchReader.from(bytes)].map(({ numRows }) => numRows).filter((length) => length > 0)
      expect(lengths).toEqual([...tensors].map(() => 1))
      const back = new Map<string, Tensor>()
      for (const row of tableFromIPC(bytes)) {
        const { name, dtype, shape, data } = row.toJSON() as { name: string; dtype: DType; shape: Iterable<number>; data: Uint8Array }
        back.set(name, { dtype, shape: [...shape], data: decodeElements(dtype, dtype, data) })
      }
      expect(back).toEqual(tensors)
    }),
  )
})

test('a stream of no tensors has the schema', async () => {
  const { schema, numRows } = tableFromIPC(joinChunks(await arrowChunks([])))
  expect(numRows).toBe(0)
  expect(schema.fields.map(String)).toEqual(['name: Utf8', 'dtype: Utf8', 'shape: List<Int32>', 'data: LargeBinary'])
})

test('tensors are passed on, not copied', async () => {
  const tensor = float32([2], [1, 2])
  expect((await arrowChunks([['a', tensor]])).some((chunk) => chunk.buffer === tensor.data.buffer)).toBe(true)
})

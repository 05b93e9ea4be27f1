import { tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { arrowTable, columnTensors } from '../../../src/engine/io/arrow-table.js'

const row = fc.record({
  number: fc.float(),
  index: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  name: fc.integer({ min: 0, max: 2 }),
})

test('a table comes back row by row, names in the place of their indices', () => {
  const names = ['a', 'über, "x"', '']
  fc.assert(
    fc.property(fc.array(row), (rows) => {
      const columns = {
        number: { values: Float32Array.from(rows, (each) => each.number) },
        index: { values: Int32Array.from(rows, (each) => each.index) },
        name: { values: Int32Array.from(rows, (each) => each.name), names },
      }
      const table = tableFromIPC(arrowTable(columns))
      expect(table.numRows).toBe(rows.length)
      const read = rows.map((_, at) => table.get(at)!.toJSON())
      expect(read).toEqual(rows.map((each) => ({ ...each, name: names[each.name] })))
      expect([...columnTensors(columns).name!.data]).toEqual(rows.map((each) => each.name))
    }),
  )
})

test('the same table is the same bytes, whatever was written before', () => {
  const make = () => arrowTable({ name: { values: Int32Array.of(0, 1, 0), names: ['x', 'y'] } })
  expect(Buffer.compare(make(), make())).toBe(0)
})

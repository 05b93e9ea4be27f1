import { expect, test } from 'vitest'
import { statementNames } from '../../src/catalog/postgres/statement-names.js'

const often = (name: (sql: string) => string, sql: string) => Array.from({ length: 8 }, () => name(sql))

test('a statement that comes again and again has a name of its own, the same each time', () => {
  const name = statementNames()
  const first = often(name, 'select 1').filter((each) => each !== '')
  const second = often(name, 'select 2').filter((each) => each !== '')
  expect(first.length).toBeGreaterThan(1)
  expect(new Set(first).size).toBe(1)
  expect(new Set([...first, ...second]).size).toBe(2)
})

test('a statement that came once has none', () => {
  const name = statementNames()
  for (let n = 0; n < 5000; n++) expect(name(`select ${n}`)).toBe('')
})

test('however many statements come again and again, a bounded number of them is kept by the connections', () => {
  const name = statementNames()
  const named = Array.from({ length: 1000 }, (_, n) => often(name, `select ${n}`).at(-1)).filter((each) => each !== '')
  expect(named.length).toBeLessThanOrEqual(100)
  expect(new Set(named).size).toBe(named.length)
})

import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { definitionPage, operators, opNames } from '../../../src/engine/graph/operators.js'

interface OnnxSchema {
  /** Absent: ONNX. */
  readonly domain?: string
  readonly since: number
  readonly inputs: readonly [number, number]
  readonly outputs: readonly [number, number]
  readonly attributes: Readonly<Record<string, { readonly kind: string; readonly required: boolean; readonly default: unknown }>>
}

const schemas = JSON.parse(readFileSync(new URL('../../fixtures/onnx/operators.json', import.meta.url), 'utf8')) as Record<
  string,
  OnnxSchema
>
const onnxKinds = { int: 'INT', float: 'FLOAT', ints: 'INTS', string: 'STRING', dtype: 'INT' } as const

test('the table has a row for every name, and no other', () => {
  expect(Object.keys(operators).sort()).toEqual([...opNames].sort())
})

test('an operator of our own has a body, for those who do not have it', () => {
  const own = opNames.filter((op) => operators[op].domain === 'refract')
  expect(own).toContain('AdamUpdate')
  for (const op of own) {
    expect(operators[op].body, op).toBeDefined()
    expect(existsSync(new URL(`../../../${definitionPage(op)}`, import.meta.url)), op).toBe(true)
    expect(Object.hasOwn(schemas, op), op).toBe(false)
  }
})

describe.each(opNames.filter((op) => operators[op].domain !== 'refract'))('the row of %s', (op) => {
  const row = operators[op]
  const schema = schemas[op]!

  test('names the domain and the version that it follows', () => {
    expect(row.since).toBe(schema.since)
    expect(row.domain).toBe(schema.domain)
    expect(definitionPage(op)).toContain(row.domain === undefined ? `onnx__${op}.html` : `#${row.domain}.${op}`)
  })

  test('takes no fewer and no more inputs and outputs than ONNX does', () => {
    for (const side of ['inputs', 'outputs'] as const) {
      expect(row[side][0]).toBeGreaterThanOrEqual(schema[side][0])
      if (Number.isFinite(row[side][1])) expect(row[side][1]).toBeLessThanOrEqual(schema[side][1])
      else expect(schema[side][1]).toBe(2 ** 31 - 1)
    }
  })

  test('has ONNX attributes, with the defaults of ONNX', () => {
    for (const [name, spec] of Object.entries(row.attributes)) {
      const defined = schema.attributes[name]
      expect(defined?.kind, name).toBe(onnxKinds[spec.kind])
      const ours = 'default' in spec ? (spec.kind === 'float' ? Math.fround(spec.default!) : spec.default) : null
      // Absent and zero mean the same for Shape's start; the schema leaves it open.
      if (defined!.default !== null) expect(ours, name).toEqual(defined!.default)
    }
  })

  test('asks for every attribute that ONNX requires', () => {
    const required = Object.entries(schema.attributes).filter(([, spec]) => spec.required)
    for (const [name] of required) expect(row.attributes[name]?.required, name).toBe(true)
  })
})

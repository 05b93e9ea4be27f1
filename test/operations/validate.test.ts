import fc from 'fast-check'
import { type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { describe, expect, test } from 'vitest'
import { forward } from '../../src/operations/forward.js'
import { operations } from '../../src/operations/operations.js'
import { validator } from '../../src/operations/validate.js'

/** What is wrong with an input, as `path: message`. */
function problemsOf(schema: TSchema, value: unknown): string[] {
  try {
    validator(schema)(value)
    return []
  } catch (error) {
    const { problems } = error as { problems: readonly { path: string; message: string }[] }
    return problems.map(({ path, message }) => `${path}: ${message}`)
  }
}

const good = { model: 'm', inputs: [{ text: 'hi' }] }
const forwardProblems = (change: object) => problemsOf(forward.input, { ...good, ...change })
const edit = (change: object) => forwardProblems({ edits: [{ hookPoint: 'hook_embed', op: 'add', vector: [1], ...change }] })

describe('a request is told everything that is wrong with it', () => {
  test('a good one passes unchanged', () => {
    const input = { ...good, read: ['blocks.*.hook_resid_post'], positions: [0, 3], edits: [{ hookPoint: 'x', op: 'set', value: 0 }] }
    expect(validator(forward.input)(input)).toBe(input)
  })

  test('a misspelt field, with the name that was meant', () => {
    expect(forwardProblems({ raed: ['x'] })).toEqual(['raed: unknown field "raed". Did you mean "read"?'])
  })

  test('a misspelt field of an edit, found through its op', () => {
    expect(edit({ strenght: 4 })).toEqual(['edits[0].strenght: unknown field "strenght". Did you mean "strength"?'])
  })

  test('a misspelt op, and a missing one', () => {
    expect(edit({ op: 'ad' })[0]).toMatch(/^edits\[0\]\.op: "ad" is not one of "add", "set", .*Did you mean "add"\?$/)
    expect(edit({ op: undefined })[0]).toMatch(/^edits\[0\]\.op: is missing; one of "add", "set", "scale"/)
  })

  test('a set with neither of its alternatives, and one with both', () => {
    expect(edit({ op: 'set', vector: undefined })).toEqual(['edits[0]: needs "vector" or "value"'])
    expect(edit({ op: 'set', value: 1 })).toEqual(['edits[0]: takes only one of "vector" and "value"'])
  })

  test('a set with neither of its alternatives and a misspelt one', () => {
    expect(edit({ op: 'set', vector: undefined, valeu: 1 })).toEqual([
      'edits[0]: needs "vector" or "value"',
      'edits[0].valeu: unknown field "valeu". Did you mean "value"?',
    ])
  })

  test('many things at once, each with its path', () => {
    const problems = forwardProblems({
      model: 3,
      inputs: [{ image: 'x' }, { txet: 'a' }],
      positions: 'clss',
      topK: 1.5,
      read: 'hook_embed',
    })
    expect(problems).toEqual([
      'model: 3 is not a string',
      expect.stringMatching(/^inputs\[0\]\.image: "x" is not of the right form/),
      expect.stringMatching(/^inputs\[1\]: needs "image" or "text"/),
      expect.stringMatching(/^inputs\[1\]\.txet: unknown field "txet". Did you mean "text"\?/),
      'read: "hook_embed" is not a list',
      expect.stringMatching(/^positions: "clss" is not one of "all", "cls", "patches"\. Did you mean "cls"\?/),
      'topK: 1.5 is not an integer',
    ])
  })

  test.each([
    ['text for a number', '4'],
    ['null', null],
    ['true', true],
    ['NaN', Number.NaN],
    ['infinity, as 1e999 parses', JSON.parse('1e999')],
    ['more than a float32 holds', 1e39],
  ])('a strength that is %s', (_, strength) => {
    expect(edit({ strength })).toHaveLength(1)
    expect(edit({ strength })[0]).toMatch(/^edits\[0\]\.strength: /)
  })

  test('a vector that holds something else than numbers, by its index', () => {
    expect(edit({ vector: [1, null, 2, 'x'] })).toEqual([
      'edits[0].vector[1]: null is not a number',
      'edits[0].vector[3]: "x" is not a number',
    ])
  })

  test('too many edits are a limit, with its name and value', () => {
    const edits = Array.from({ length: 65 }, () => ({ hookPoint: 'x', op: 'zero' }))
    expect(() => validator(forward.input)({ ...good, edits })).toThrow(
      expect.objectContaining({ code: 'LIMIT_EXCEEDED', details: expect.objectContaining({ limit: 'edits', given: 65, maximum: 64 }) }),
    )
  })

  test('at most twenty problems, however many there are', () => {
    expect(edit({ vector: Array.from({ length: 10_000 }, () => 'x') })).toHaveLength(20)
  })

  test('keys of the prototype are unknown fields like any other', () => {
    expect(problemsOf(forward.input, JSON.parse('{"model":"m","inputs":[{"text":"a"}],"__proto__":{"x":1}}'))).toHaveLength(1)
    expect(forwardProblems({ constructor: 1, hasOwnProperty: 2 })).toHaveLength(2)
  })
})

describe('the words agree with the compiled check', () => {
  const schemas = Object.values(operations).map(({ name, input }) => [name, input] as const)

  test.each(schemas)('for %s: whatever fails has a problem, whatever passes has none', (_, schema) => {
    const check = Compile(schema as TSchema)
    const names = Object.keys((schema as { properties?: object }).properties ?? {})
    const value = fc.dictionary(
      fc.oneof(fc.constantFrom(...names, 'op', 'hookPoint', 'vector', 'image', 'text'), fc.string()),
      fc.jsonValue(),
    )
    fc.assert(
      fc.property(fc.oneof(value, fc.jsonValue()), (input) => {
        expect(problemsOf(schema as TSchema, input).length > 0).toBe(!check.Check(input))
      }),
      { numRuns: 150 },
    )
  })

  test('for edits made of real fields', () => {
    const field = {
      hookPoint: fc.oneof(fc.constant('hook_embed'), fc.constant(3)),
      op: fc.constantFrom('add', 'set', 'scale', 'zero', 'mean', 'project-out', 'clamp-projection', 'patch', 'nothing'),
      vector: fc.oneof(fc.constant([1, 2]), fc.constant([]), fc.constant(['x'])),
      value: fc.oneof(fc.double(), fc.constant('1')),
      strength: fc.oneof(fc.double(), fc.constant(null)),
      positions: fc.oneof(fc.constant('cls'), fc.constant([0, 0]), fc.constant([1.5])),
      from: fc.oneof(fc.constant({}), fc.constant({ input: 0 }), fc.constant({ cahce: 'x' })),
    }
    const check = Compile(forward.input)
    fc.assert(
      fc.property(fc.record(field, { requiredKeys: [] }), (each) => {
        const input = { ...good, edits: [each] }
        expect(problemsOf(forward.input, input).length > 0).toBe(!check.Check(input))
      }),
    )
  })

  test('a schema without constraints takes anything', () => {
    expect(problemsOf(Type.Unknown(), { a: [1, null] })).toEqual([])
  })
})

test('every example of the documentation is accepted', () => {
  for (const { input, example } of Object.values(operations) as { input: TSchema; example?: unknown }[]) {
    if (example !== undefined) expect(problemsOf(input, example)).toEqual([])
  }
})

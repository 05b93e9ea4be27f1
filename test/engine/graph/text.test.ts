import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import type { Graph } from '../../../src/engine/graph/graph.js'
import { parse } from '../../../src/engine/graph/parse.js'
import { print } from '../../../src/engine/graph/print.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { allocate, bytesPerElement, type DType, type Tensor } from '../../../src/engine/tensor.js'
import { block, programs } from './small-graphs.js'

test('reads like the program it is', () => {
  const text = print(block(), validate(block()))
  const lines = text.split('\n')
  expect(lines[0]).toBe('graph "block"')
  expect(lines).toContain('input x: float32[batch, 3, 4]')
  expect(lines).toContain('parameter ln.w: float32[4]')
  expect(lines).toContain('constant "const:int64[2]-1,4": int64[2] = [-1, 4]')
  expect(lines).toContain('hook_post = Gelu(hook_pre)  // float32[batch, 3, 6]')
  expect(lines).toContain('hook ln.hook_scale [batch, pos, scale]')
  expect(lines).toContain('hook normed [batch, pos, dModel] = normed#0, normed#1, normed')
})

// --- graphs that no builder would make: every name, number and dtype there is

const name = fc.oneof(
  fc.constantFrom(
    'blocks.0.hook_resid_pre',
    'v1:Gemm',
    'a#0',
    'x@1/v0:Mul',
    'input',
    '_',
    'hook',
    'a:',
    'NaN',
    '"',
    '\\',
    'a//b',
    'ends/',
    '5',
    ' ',
  ),
  fc.string({ minLength: 1, unit: 'binary' }).filter((text) => text !== '__proto__'),
)
const names = fc.uniqueArray(name, { minLength: 4, maxLength: 12 })
const lengths = fc.array(fc.nat(3), { maxLength: 3 })
const dtypes = fc.constantFrom(...(Object.keys(bytesPerElement) as DType[]))
const dims = fc.array(fc.oneof(fc.nat(9), fc.constantFrom('batch', 'n_1')), { maxLength: 4 })

const literals: fc.Arbitrary<Tensor> = fc.tuple(dtypes, lengths).chain(([dtype, shape]) => {
  const count = shape.reduce((product, length) => product * length, 1)
  const element = {
    float32: fc.float(),
    float64: fc.double(),
    int32: fc.integer(),
    int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    uint8: fc.nat(255),
    bool: fc.nat(1),
  }[dtype] as fc.Arbitrary<number>
  return fc.array(element, { minLength: count, maxLength: count }).map((elements) => {
    const data = allocate(dtype, count) as Float32Array
    data.set(elements)
    return { dtype, shape, data }
  })
})

const number = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(-0, 1e-5, 1e300, 5e-324))
const attribute = fc.oneof(number, fc.string(), fc.array(number, { maxLength: 4 }))
const attributeNames = fc.constantFrom('axis', 'epsilon', 'perm', 'to')

const arbitraryGraph: fc.Arbitrary<Graph> = names.chain((all) => {
  const some = fc.constantFrom(...all)
  const record = <T>(value: fc.Arbitrary<T>) => fc.dictionary(some, value, { maxKeys: 4, noNullPrototype: true })
  return fc.record({
    name: fc.string(),
    inputs: record(fc.record({ dtype: dtypes, shape: dims })),
    parameters: record(fc.record({ dtype: dtypes, shape: lengths })),
    constants: record(literals),
    nodes: fc.array(
      fc.record({
        op: fc.constantFrom('Add', 'Split', 'LayerNormalization'),
        inputs: fc.array(fc.oneof(some, fc.constant('')), { maxLength: 4 }),
        outputs: fc.array(some, { minLength: 1, maxLength: 3 }),
        attributes: fc.dictionary(attributeNames, attribute, { noNullPrototype: true }),
      }),
      { maxLength: 6 },
    ),
    outputs: fc.array(some, { maxLength: 3 }),
    hookPoints: fc.array(
      fc.record({
        name: some,
        axes: fc.array(fc.constantFrom('batch', 'pos', 'dModel'), { maxLength: 3 }),
        firings: fc.array(some, { minLength: 1, maxLength: 3 }),
      }),
      { maxLength: 3 },
    ),
  }) as fc.Arbitrary<Graph>
})

describe('what is printed is read back exactly', () => {
  test('models', () => {
    for (const graph of [block('fused'), block('written out')]) {
      expect(parse(print(graph))).toEqual(graph)
      expect(parse(print(graph, validate(graph)))).toEqual(graph)
    }
  })

  test('random programs', () => {
    fc.assert(fc.property(programs, (graph) => void expect(parse(print(graph))).toEqual(graph)))
  })

  test('any names, numbers and dtypes', () => {
    fc.assert(
      fc.property(arbitraryGraph, (graph) => {
        const text = print(graph)
        expect(parse(text)).toEqual(graph)
        expect(print(parse(text))).toBe(text)
      }),
      { numRuns: 500 },
    )
  })
})

describe('what cannot be read is refused with its line', () => {
  test.each([
    ['', 'line 1: the text must begin with: graph "name"'],
    ['graph x', 'line 1: expected a name in quotes'],
    ['graph "x"\ninput y float32[]', 'line 2: expected : before "float32[]"'],
    ['graph "x"\ninput y: float16[2]', 'line 2: "float16" is not a dtype'],
    ['graph "x"\ninput y: float32[2', 'line 2: expected ] before the end of the line'],
    ['graph "x"\n\ny = Neg(x', 'line 3: expected ) before the end of the line'],
    ['graph "x"\ny = Neg(x) axis', 'line 2: expected = before the end of the line'],
    ['graph "x"\ny = Neg(input)', 'line 2: the name "input" must be in quotes'],
    ['graph "x"\ny = Neg(x) a=1 a=2', 'line 2: "a" cannot be declared here'],
    ['graph "x"\ninput "__proto__": float32[]', 'line 2: "__proto__" cannot be declared here'],
    ['graph "x"\ninput y: float32[]\ninput y: float32[]', 'line 3: "y" cannot be declared here'],
    ['graph "x"\nconstant c: int64[1] = [1.5]', 'line 2: 1.5 is not a whole number'],
    ['graph "x"\nconstant c: float32[1] = [one]', 'line 2: expected a number before "one]"'],
    ['graph "x"\ninput "a\\q": float32[]', 'line 2: "a\\q" is not a JSON string'],
    ['graph "x"\noutput y z', 'line 2: unexpected "z"'],
    ['graph "x"\n= Neg(x)', 'line 2: expected a name'],
  ])('%j', (text, problem) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'GRAPH_INVALID', message: expect.stringContaining(problem) }))
  })

  test('all lines at once', () => {
    try {
      parse('graph "x"\noutput\ninput y\nz = Neg(y)\nhook')
      expect.unreachable()
    } catch (error) {
      expect((error as EngineError).problems.map(({ path }) => path)).toEqual(['line 2', 'line 3', 'line 5'])
    }
  })

  test('no text makes it fail otherwise', () => {
    const pieces = fc.constantFrom(
      'graph ',
      '"x"',
      'input ',
      'y',
      ': ',
      'float32',
      '[',
      ']',
      ', ',
      '1',
      '\n',
      ' = ',
      'Neg(',
      ')',
      '//',
      'hook ',
      '_',
      '"',
      '\\',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string({ maxLength: 3 })), { maxLength: 30 }), (parts) => {
        try {
          parse(parts.join(''))
        } catch (error) {
          expect(error).toBeInstanceOf(EngineError)
        }
      }),
      { numRuns: 500 },
    )
  })
})

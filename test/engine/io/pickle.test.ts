import { describe, expect, test } from 'vitest'
import { type PicklePolicy, readPickle } from '../../../src/engine/io/pickle.js'
import { PickleError, type PickleValue, plainData } from '../../../src/engine/io/pickle-values.js'
import { pickle, text, u32, u64 } from './write-pickle.js'

/** Shows every name and call, and refuses none. */
const show: PicklePolicy = {
  global: (module, name) => `<${module}.${name}>`,
  call: (callee, args, keywords) => ['call', callee, [...args], ...(keywords ? [keywords] : [])],
  build: (target, state) => ['build', target, state],
  persistent: (id) => ['persistent', id],
}
const read = (...parts: Parameters<typeof pickle>): PickleValue => readPickle(pickle(...parts), show)

describe('every instruction makes what Python makes of it', () => {
  test.each<[string, Parameters<typeof pickle>[0], PickleValue]>([
    ['NONE', 'N', null],
    ['NEWTRUE, NEWFALSE', '(\x88\x89t', [true, false]],
    ['INT', '(I-5\nI01\nI00\nt', [-5, true, false]],
    ['LONG', '(L7L\nL99999999999999999999L\nt', [7, 99999999999999999999n]],
    ['BININT, BININT1, BININT2', ['(J', u32(-2), 'K\xffM\xff\xfft'], [-2, 255, 65535]],
    ['LONG1', '(\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01t', [0, -1, 255, 2n ** 64n]],
    ['LONG4', ['\x8b', u32(1), '\x80'], -128],
    ['FLOAT', '(F1.5\nFinf\nF-inf\nt', [1.5, Infinity, -Infinity]],
    ['BINFLOAT', 'G\x3f\xf8\x00\x00\x00\x00\x00\x00', 1.5],
    ['STRING', "S'a\\n\\x41\\'\\\\'\n", "a\nA'\\"],
    ['BINSTRING, SHORT_BINSTRING', ['(T', u32(1), '\xe9U\x01at'], ['é', 'a']],
    ['UNICODE', 'V\\u00e9\\U0001f600x\n', 'é😀x'],
    ['BINUNICODE', text('é'), 'é'],
    ['SHORT_BINUNICODE, BINUNICODE8', ['(\x8c\x01a\x8d', u64(2n), 'bct'], ['a', 'bc']],
    [
      'BINBYTES',
      ['(B', u32(1), 'aC\x01b\x8e', u64(1n), 'c\x96', u64(1n), 'dt'],
      [...'abcd'].map((letter) => new Uint8Array(Buffer.from(letter))),
    ],
    ['EMPTY_LIST, APPEND, APPENDS', ']K\x01a(K\x02K\x03e', [1, 2, 3]],
    ['LIST', '(K\x01l', [1]],
    ['EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3', '(K\x01\x85K\x01K\x02\x86K\x01K\x02K\x03\x87)t', [[1], [1, 2], [1, 2, 3], []]],
    ['EMPTY_DICT, SETITEM, SETITEMS', '}K\x01K\x02s(K\x03K\x04u', new Map([[1, 2], [3, 4]])], // biome-ignore format: short
    ['DICT', '(K\x01K\x02d', new Map([[1, 2]])],
    ['EMPTY_SET, ADDITEMS, FROZENSET', '(\x8f(K\x01\x90(K\x02\x91t', [new Set([1]), new Set([2])]],
    ['POP, POP_MARK, DUP', '(K\x01K\x022(K\x0910t', [1, 2]],
    ['PUT, GET', '(K\x01p5\n0g5\nt', [1]],
    ['BINPUT, BINGET', '(K\x01q\x050h\x05t', [1]],
    ['LONG_BINPUT, LONG_BINGET', ['(K\x01r', u32(9), '0j', u32(9), 't'], [1]],
    ['MEMOIZE', '(K\x07\x940h\x00t', [7]],
    ['FRAME', ['\x80\x04\x95', u64(2n), 'K\x01'], 1],
    ['GLOBAL, STACK_GLOBAL', '(cos\npath\n\x8c\x01a\x8c\x01b\x93t', ['<os.path>', '<a.b>']],
    ['REDUCE, NEWOBJ', '(cm\nf\n)Rcm\nC\n)\x81t', [['call', '<m.f>', []], ['call', '<m.C>', []]]], // biome-ignore format: short
    ['NEWOBJ_EX', 'cm\nC\n)}\x92', ['call', '<m.C>', [], new Map()]],
    ['INST, OBJ', '(((K\x01im\nC\n(cm\nC\nK\x02olt0K\x03\x85', [3]],
    ['BUILD', 'cm\nC\n}b', ['build', '<m.C>', new Map()]],
    ['PERSID, BINPERSID', '(Pabc\nK\x01Qt', [['persistent', 'abc'], ['persistent', 1]]], // biome-ignore format: short
  ])('%s', (_, parts, value) => {
    expect(read(parts, '.')).toEqual(value)
  })

  test('INST and OBJ construct what is on the stack since the mark', () => {
    expect(read('(K\x01im\nC\n.')).toEqual(['call', '<m.C>', [1]])
    expect(read('(cm\nC\nK\x02o.')).toEqual(['call', '<m.C>', [2]])
  })

  test('what is memoized is shared, not copied', () => {
    const [a, b] = read('(]q\x00h\x00t.') as [PickleValue, PickleValue]
    expect(a).toBe(b)
  })
})

describe('a pickle that is damaged or hostile is refused', () => {
  test.each<[string, Parameters<typeof pickle>[0], RegExp]>([
    ['nothing', '', /ends too early/],
    ['no end', 'N', /ends too early/],
    ['an end with nothing', '.', /empty stack/],
    ['an unknown instruction', '\xff.', /unknown instruction 0xff at byte 0/],
    ['an extension of the registry', '\x82\x01.', /unknown instruction 0x82/],
    ['an out-of-band buffer', '\x97.', /unknown instruction 0x97/],
    ['a protocol of the future', '\x80\x06N.', /protocol 6/],
    ['a mark that was never set', 't.', /mark that was never set/],
    ['a memo that was never set', 'h\x05.', /memo 5/],
    ['text longer than the pickle', ['X', u32(-1), 'abc.'], /ends too early/],
    ['bytes longer than any memory', ['\x8e', u64(2n ** 63n), '.'], /ends too early/],
    ['a frame beyond the end', ['\x95', u64(100n), 'N.'], /frame beyond its end/],
    ['an integer of a million bytes', ['\x8b', u32(1_000_000), new Uint8Array(1_000_000), '.'], /integer of 1000000 bytes/],
    ['an integer of a million digits', `I${'9'.repeat(1_000_000)}\n.`, /does not end within/],
    ['an integer that is text', 'Iabc\n.', /integer that is not one/],
    ['a float that is text', 'Fabc\n.', /float that is not one/],
    ['a string without quotes', 'Sabc\n.', /without quotes/],
    ['a name without an end', `c${'a'.repeat(2_000)}`, /does not end within/],
    ['a name that is a number', '(K\x01K\x02\x93.', /name that is not text/],
    ['arguments that are no tuple', 'cm\nf\nNR.', /not a tuple/],
    ['named arguments that are no dictionary', 'cm\nf\n)N\x92.', /not a dictionary/],
    ['an item appended to a number', 'K\x01K\x02a.', /not a list/],
    ['an item of a number', 'K\x01K\x02K\x03s.', /not a dictionary/],
    ['an item added to a list', '](K\x01\x90.', /not a set/],
    ['a key without a value', '}(K\x01u.', /key without a value/],
    ['two million lists', [']'.repeat(2_000_000), '.'], /more than 1000000 lists/],
    ['two million marks', ['('.repeat(2_000_000), '.'], /more than 1000000 lists/],
    ['three million memo entries', ['N', '\x94'.repeat(3_000_000), '.'], /memoizes more than/],
    ['eleven million instructions', ['N'.repeat(11_000_000), '.'], /more than 10000000 instructions/],
  ])('%s', (_, parts, message) => {
    expect(() => read(parts)).toThrow(expect.objectContaining({ constructor: PickleError, message: expect.stringMatching(message) }))
  })

  test('nesting a million levels deep overflows nothing', () => {
    const value = read('N', '\x85'.repeat(900_000), '.')
    expect(Array.isArray(value)).toBe(true)
    expect(() => plainData(value)).toThrow(/nested more than 100 levels/)
  })
})

describe('pickled values as plain data', () => {
  test('a key named like a property of every object is a key', () => {
    const data = plainData(new Map([['__proto__', 1]])) as Record<string, unknown>
    expect(Object.keys(data)).toEqual(['__proto__'])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('a list that contains itself is refused', () => {
    expect(() => plainData(read(']q\x00h\x00a.'))).toThrow(/contains itself/)
  })

  test('a billion laughs are refused', () => {
    const doublings = Array.from({ length: 40 }, () => '2\x86').join('')
    expect(() => plainData(read('N', doublings, '.'))).toThrow(/more than 2000000 values/)
  })

  test('the same long text a thousand times is refused', () => {
    expect(() => plainData(new Array(1000).fill('x'.repeat(100_000)))).toThrow(/characters of text/)
  })
})

/**
 * A reader of Python pickles that executes nothing. Pickle is a small stack language; its dangerous instructions are those that look up a
 * name in Python (`GLOBAL`) and call what they found (`REDUCE`, `NEWOBJ`, `BUILD`). Here a name stays a name, and what a call makes is
 * decided by the `PicklePolicy` that the caller passes in, out of plain data.
 *
 * Time and memory are bounded by the length of the pickle: there are no loops in the language, nothing here recurses, and the number of
 * instructions, containers and the size of numbers are limited.
 *
 * @see Python's `Lib/pickletools.py`, which documents every opcode
 */

import { isRecord, PickleError, type PickleMap, type PickleValue } from './pickle-values.js'

/** What the names and calls of a pickle mean. Each function may throw to refuse. */
export interface PicklePolicy {
  /** The value of a name. */
  global(module: string, name: string): PickleValue
  /** What calling a value makes; `keywords` only from pickles that construct objects with named arguments. */
  call(callee: PickleValue, args: readonly PickleValue[], keywords?: PickleMap): PickleValue
  /** What becomes of an object that is given stored state; usually the object. */
  build(target: PickleValue, state: PickleValue): PickleValue
  /** The object behind a persistent id: how torch refers to its storages. */
  persistent(id: PickleValue): PickleValue
}

const maxInstructions = 10_000_000
const maxContainers = 1_000_000
const maxMemoized = 2_000_000
const maxIntegerBytes = 128
const maxLineBytes = 1_000

interface Machine {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly policy: PicklePolicy
  at: number
  stack: PickleValue[]
  /** The stacks below each open mark. */
  marked: PickleValue[][]
  readonly memo: Map<number, PickleValue>
  nContainers: number
}

/** Reads one pickle. @throws PickleError, and whatever `policy` throws */
export function readPickle(bytes: Uint8Array, policy: PicklePolicy): PickleValue {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const machine: Machine = { bytes, view, policy, at: 0, stack: [], marked: [], memo: new Map(), nContainers: 0 }
  for (let nInstructions = 0; nInstructions < maxInstructions; nInstructions++) {
    const opcode = unsigned(machine, 1)
    if (opcode === stop) return pop(machine)
    const instruction = instructions[opcode]
    if (instruction === undefined) {
      throw new PickleError(`the pickle has the unknown instruction 0x${opcode.toString(16).padStart(2, '0')} at byte ${machine.at - 1}`)
    }
    instruction(machine)
  }
  throw new PickleError(`the pickle has more than ${maxInstructions} instructions`)
}

const code = (character: string) => character.charCodeAt(0)
const stop = code('.')

type Instruction = (machine: Machine) => void

/** Every instruction of protocols 0 to 5 but those that reach outside the pickle: the extension registry and out-of-band buffers. */
const instructions: Readonly<Record<number, Instruction>> = {
  // Framing: 0x80 PROTO, 0x95 FRAME
  128: (m) => {
    const protocol = unsigned(m, 1)
    if (protocol > 5) throw new PickleError(`the pickle is of protocol ${protocol}; protocols up to 5 are known`)
  },
  149: (m) => requireFrame(m, length64(m)),

  // The stack
  [code('(')]: mark,
  [code('0')]: (m) => {
    // POP of an empty stack removes the mark, as in Python.
    if (m.stack.length > 0) m.stack.pop()
    else popToMark(m)
  },
  [code('1')]: (m) => void popToMark(m),
  [code('2')]: (m) => push(m, top(m)),

  // The memo
  [code('p')]: (m) => memoize(m, decimal(line(m))),
  [code('q')]: (m) => memoize(m, unsigned(m, 1)),
  [code('r')]: (m) => memoize(m, unsigned(m, 4)),
  148: (m) => memoize(m, m.memo.size),
  [code('g')]: (m) => recall(m, decimal(line(m))),
  [code('h')]: (m) => recall(m, unsigned(m, 1)),
  [code('j')]: (m) => recall(m, unsigned(m, 4)),

  // Constants and numbers
  [code('N')]: (m) => push(m, null),
  136: (m) => push(m, true),
  137: (m) => push(m, false),
  [code('I')]: (m) => {
    const text = line(m)
    push(m, text === '01' ? true : text === '00' ? false : integer(text))
  },
  [code('L')]: (m) => push(m, integer(line(m).replace(/L$/, ''))),
  [code('J')]: (m) => push(m, m.view.getInt32(take(m, 4), true)),
  [code('K')]: (m) => push(m, unsigned(m, 1)),
  [code('M')]: (m) => push(m, unsigned(m, 2)),
  138: (m) => push(m, longInteger(m, unsigned(m, 1))),
  139: (m) => push(m, longInteger(m, unsigned(m, 4))),
  [code('F')]: (m) => push(m, floatText(line(m))),
  [code('G')]: (m) => push(m, m.view.getFloat64(take(m, 8), false)),

  // Text and bytes
  [code('S')]: (m) => push(m, quotedText(line(m))),
  [code('V')]: (m) => push(m, rawUnicodeEscape(line(m))),
  [code('T')]: (m) => push(m, latin1(m, unsigned(m, 4))),
  [code('U')]: (m) => push(m, latin1(m, unsigned(m, 1))),
  [code('X')]: (m) => push(m, text(m, unsigned(m, 4))),
  140: (m) => push(m, text(m, unsigned(m, 1))),
  141: (m) => push(m, text(m, length64(m))),
  [code('B')]: (m) => push(m, slice(m, unsigned(m, 4))),
  [code('C')]: (m) => push(m, slice(m, unsigned(m, 1))),
  142: (m) => push(m, slice(m, length64(m))),
  150: (m) => push(m, slice(m, length64(m))),

  // Containers
  [code(']')]: (m) => push(m, container(m, [])),
  [code(')')]: (m) => push(m, container(m, [])),
  [code('}')]: (m) => push(m, container(m, new Map())),
  143: (m) => push(m, container(m, new Set())),
  [code('l')]: (m) => push(m, container(m, popToMark(m))),
  [code('t')]: (m) => push(m, container(m, popToMark(m))),
  [code('d')]: (m) => {
    const items = popToMark(m)
    push(m, container(m, setItems(new Map(), items)))
  },
  133: (m) => push(m, container(m, popMany(m, 1))),
  134: (m) => push(m, container(m, popMany(m, 2))),
  135: (m) => push(m, container(m, popMany(m, 3))),
  145: (m) => push(m, container(m, new Set(popToMark(m)))),
  [code('a')]: (m) => append(m, popMany(m, 1)),
  [code('e')]: (m) => append(m, popToMark(m)),
  [code('s')]: (m) => {
    const item = popMany(m, 2)
    setItems(topMap(m), item)
  },
  [code('u')]: (m) => {
    const items = popToMark(m)
    setItems(topMap(m), items)
  },
  144: (m) => {
    const items = popToMark(m)
    const set = top(m)
    if (!(set instanceof Set)) throw new PickleError('the pickle adds items to something that is not a set')
    for (const item of items) set.add(item)
  },

  // Names and calls: what they mean is the policy's decision
  [code('c')]: (m) => {
    const module = line(m)
    push(m, m.policy.global(module, line(m)))
  },
  147: (m) => {
    const [module, name] = popMany(m, 2)
    if (typeof module !== 'string' || typeof name !== 'string') throw new PickleError('the pickle looks up a name that is not text')
    push(m, m.policy.global(module, name))
  },
  [code('R')]: call,
  129: call,
  146: (m) => {
    const [callee, args, keywords] = popMany(m, 3)
    if (!(keywords instanceof Map)) throw new PickleError('the pickle passes named arguments that are not a dictionary')
    push(m, m.policy.call(callee!, list(args!), keywords))
  },
  [code('i')]: (m) => {
    const module = line(m)
    const callee = m.policy.global(module, line(m))
    push(m, m.policy.call(callee, popToMark(m)))
  },
  [code('o')]: (m) => {
    const [callee, ...args] = popToMark(m)
    if (callee === undefined) throw new PickleError('the pickle constructs an object of no class')
    push(m, m.policy.call(callee, args))
  },
  [code('b')]: (m) => {
    const [target, state] = popMany(m, 2)
    push(m, m.policy.build(target!, state!))
  },
  [code('P')]: (m) => push(m, m.policy.persistent(line(m))),
  [code('Q')]: (m) => push(m, m.policy.persistent(pop(m))),
}

// --- the stack

function push(m: Machine, value: PickleValue): void {
  m.stack.push(value)
}

function top(m: Machine): PickleValue {
  const value = m.stack.at(-1)
  if (value === undefined) throw new PickleError('the pickle takes a value from an empty stack')
  return value
}

function pop(m: Machine): PickleValue {
  const value = top(m)
  m.stack.pop()
  return value
}

function popMany(m: Machine, n: number): PickleValue[] {
  if (m.stack.length < n) throw new PickleError('the pickle takes a value from an empty stack')
  return m.stack.splice(m.stack.length - n)
}

function mark(m: Machine): void {
  m.marked.push(container(m, m.stack))
  m.stack = []
}

function popToMark(m: Machine): PickleValue[] {
  const items = m.stack
  const below = m.marked.pop()
  if (below === undefined) throw new PickleError('the pickle refers to a mark that was never set')
  m.stack = below
  return items
}

function memoize(m: Machine, index: number): void {
  m.memo.set(index, top(m))
  if (m.memo.size > maxMemoized) throw new PickleError(`the pickle memoizes more than ${maxMemoized} values`)
}

function recall(m: Machine, index: number): void {
  const value = m.memo.get(index)
  if (value === undefined) throw new PickleError(`the pickle refers to memo ${index}, which was never set`)
  push(m, value)
}

function call(m: Machine): void {
  const [callee, args] = popMany(m, 2)
  push(m, m.policy.call(callee!, list(args!)))
}

// --- containers

/** Counts a container: an empty one takes one byte of the pickle, and a hundred or more of memory. */
function container<T>(m: Machine, value: T): T {
  if (++m.nContainers > maxContainers) throw new PickleError(`the pickle has more than ${maxContainers} lists and dictionaries`)
  return value
}

function list(value: PickleValue): PickleValue[] {
  if (!Array.isArray(value)) throw new PickleError('the pickle passes arguments that are not a tuple')
  return value
}

function append(m: Machine, items: readonly PickleValue[]): void {
  const target = itemsOf(m, () => [])
  if (!Array.isArray(target)) throw new PickleError('the pickle appends to something that is not a list')
  for (const item of items) target.push(item)
}

/** What the items that follow go into: the container on top, or the inside of an object whose class derives from one. */
function itemsOf(m: Machine, empty: () => PickleValue[] | PickleMap): PickleValue {
  const target = top(m)
  if (!isRecord(target)) return target
  target.items ??= container(m, empty())
  return target.items
}

function topMap(m: Machine): PickleMap {
  const map = itemsOf(m, () => new Map())
  if (!(map instanceof Map)) throw new PickleError('the pickle sets keys of something that is not a dictionary')
  return map
}

function setItems(map: PickleMap, items: readonly PickleValue[]): PickleMap {
  if (items.length % 2 !== 0) throw new PickleError('the pickle has a dictionary key without a value')
  for (let i = 0; i < items.length; i += 2) map.set(items[i]!, items[i + 1]!)
  return map
}

// --- reading the bytes

/** The position of the next `length` bytes, which are then passed. */
function take(m: Machine, length: number): number {
  const at = m.at
  if (length > m.bytes.length - at) throw new PickleError(`the pickle ends too early, at byte ${m.bytes.length}`)
  m.at += length
  return at
}

/** A frame announces the length of the instructions that follow; they are read as if it were not there. */
function requireFrame(m: Machine, length: number): void {
  if (length > m.bytes.length - m.at) throw new PickleError('the pickle claims a frame beyond its end')
}

function unsigned(m: Machine, nBytes: 1 | 2 | 4): number {
  const at = take(m, nBytes)
  return nBytes === 1 ? m.view.getUint8(at) : nBytes === 2 ? m.view.getUint16(at, true) : m.view.getUint32(at, true)
}

function length64(m: Machine): number {
  // Too large a number to be exact is too large for any pickle, and `take` refuses it.
  return Number(m.view.getBigUint64(take(m, 8), true))
}

function slice(m: Machine, length: number): Uint8Array {
  const at = take(m, length)
  return m.bytes.subarray(at, at + length)
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

function text(m: Machine, length: number): string {
  return utf8.decode(slice(m, length))
}

function latin1(m: Machine, length: number): string {
  const bytes = slice(m, length)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function line(m: Machine): string {
  const end = m.bytes.subarray(m.at, m.at + maxLineBytes).indexOf(10)
  if (end < 0) throw new PickleError(`the pickle has a line that does not end within ${maxLineBytes} bytes`)
  const value = text(m, end)
  m.at++
  return value
}

function decimal(value: string): number {
  if (!/^\d{1,10}$/.test(value)) throw new PickleError('the pickle has a memo index that is not a number')
  return Number(value)
}

function integer(value: string): number | bigint {
  if (!/^[+-]?\d{1,300}$/.test(value)) throw new PickleError('the pickle has an integer that is not one')
  return narrow(BigInt(value.replace('+', '')))
}

function floatText(value: string): number {
  const named: Record<string, number> = { inf: Infinity, '-inf': -Infinity, nan: Number.NaN }
  const number = Object.hasOwn(named, value) ? named[value]! : Number(value)
  if (value.trim() === '' || (Number.isNaN(number) && value !== 'nan')) throw new PickleError('the pickle has a float that is not one')
  return number
}

/** Two's complement, least significant byte first. */
function longInteger(m: Machine, length: number): number | bigint {
  if (length > maxIntegerBytes) throw new PickleError(`the pickle has an integer of ${length} bytes; at most ${maxIntegerBytes} are read`)
  const bytes = slice(m, length)
  if (length === 0) return 0
  const hex = Buffer.from(bytes).reverse().toString('hex')
  return narrow(BigInt.asIntN(length * 8, BigInt(`0x${hex}`)))
}

function narrow(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', a: '\x07', b: '\b', f: '\f', v: '\v' }

/** Protocol 0 text of Python 2: a string literal. */
function quotedText(value: string): string {
  const quote = value[0]
  if (value.length < 2 || (quote !== "'" && quote !== '"') || value.at(-1) !== quote)
    throw new PickleError('the pickle has a string without quotes')
  return value.slice(1, -1).replace(/\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)/g, (_, code: string) => {
    if (code.length > 1 && code[0] === 'x') return String.fromCharCode(Number.parseInt(code.slice(1), 16))
    if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 0xff)
    return escapes[code] ?? code
  })
}

function rawUnicodeEscape(value: string): string {
  return value.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (written, short?: string, long?: string) => {
    const point = Number.parseInt(short ?? long ?? '', 16)
    return point <= 0x10ffff ? String.fromCodePoint(point) : written
  })
}

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Waiting, WaitingLine } from '../../../src/engine/host/waiting-line.js'

interface Item extends Waiting {
  readonly name: string
}

function makeLine(limit = 100) {
  const pins: string[] = []
  const pin = (id: string) => {
    pins.push(id)
    return () => void pins.splice(pins.indexOf(id), 1)
  }
  const line = new WaitingLine<Item>({ limit, pin })
  const push = (name: string, { key = name, nRows = 1, needs = [key] }: { key?: string; nRows?: number; needs?: string[] } = {}) => {
    const item: Item = { name, mergeKey: key, nRows, needs }
    line.push(item, () => 1)
    return item
  }
  return { line, pins, push }
}

const names = (items: readonly Item[]) => items.map(({ name }) => name)

describe('a waiting line', () => {
  test('pins what those in it need, and lets go when they leave', () => {
    const { line, pins, push } = makeLine()
    push('a')
    const gone = push('b')
    push('c')
    expect(pins).toEqual(['a', 'b', 'c'])
    expect(line.remove(gone)).toBe(true)
    expect(line.remove(gone)).toBe(false)
    const served = line.next()!
    expect([served.item.name, ...pins]).toEqual(['a', 'a', 'c'])
    served.unpin()
    expect(names(line.clear())).toEqual(['c'])
    expect(pins).toEqual([])
  })

  test('a request too large for the batch is passed over, not split, and does not lose its place', () => {
    const { line, push } = makeLine()
    for (const [name, nRows] of [
      ['head', 2],
      ['large', 4],
      ['small', 1],
      ['other', 1],
    ] as const)
      push(name, { key: name === 'other' ? 'y' : 'x', nRows })
    const head = line.next()!
    expect(names(line.mates(head.item, 4))).toEqual(['small'])
    expect(line.next()!.item.name).toBe('large')
  })

  test('after one is set aside, those who pinned before go first, later ones wait and pin nothing until it has been served', () => {
    const { line, pins, push } = makeLine()
    push('needs room', { key: 'b' })
    push('before', { key: 'a' })
    const { item, unpin } = line.next()!
    unpin()
    line.defer(item)
    push('after', { key: 'a' })
    expect(pins).toEqual(['a'])
    const before = line.next()!
    expect(before.item.name).toBe('before')
    before.unpin()
    expect(line.holdsPins).toBe(false)
    const deferred = line.next()!
    expect(deferred.item.name).toBe('needs room')
    push('while it is served', { key: 'a' })
    expect(pins).toEqual(['b'])
    deferred.unpin()
    expect(line.next()!.item.name).toBe('after')
    expect(pins).toEqual(['a', 'a'])
  })

  test('one set aside that gives up frees the line', () => {
    const { line, pins, push } = makeLine()
    push('needs room')
    push('before')
    const { item, unpin } = line.next()!
    unpin()
    line.defer(item)
    push('after')
    line.remove(item)
    expect([line.next()!.item.name, line.next()!.item.name]).toEqual(['before', 'after'])
    expect(pins).toEqual(['before', 'after'])
  })

  test('whatever is pushed, set aside, merged and given up: everyone who stays is served exactly once, and no pin is left', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('push' as const), key: fc.constantFrom('a', 'b', 'c'), nRows: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ kind: fc.constant('serve' as const), defer: fc.boolean(), maxRows: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ kind: fc.constant('give up' as const), which: fc.nat(20) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { line, pins, push } = makeLine(8)
        const waiting: Item[] = []
        const leave = (item: Item) => {
          expect(waiting).toContain(item)
          waiting.splice(waiting.indexOf(item), 1)
        }
        const serve = (defer: boolean, maxRows: number) => {
          const head = line.next()
          if (head === undefined) return false
          if (defer && line.holdsPins) {
            head.unpin()
            line.defer(head.item)
            return true
          }
          const mates = line.mates(head.item, maxRows)
          expect(mates.every(({ mergeKey }) => mergeKey === head.item.mergeKey)).toBe(true)
          const nRows = mates.reduce((sum, mate) => sum + mate.nRows, head.item.nRows)
          expect(nRows).toBeLessThanOrEqual(Math.max(maxRows, head.item.nRows))
          for (const item of [head.item, ...mates]) leave(item)
          head.unpin()
          return true
        }
        for (const [index, step] of steps.entries()) {
          if (step.kind === 'serve') serve(step.defer, step.maxRows)
          else if (step.kind === 'give up') {
            const item = waiting[step.which]
            if (item !== undefined && line.remove(item)) leave(item)
          } else if (line.length < 8) waiting.push(push(String(index), step))
          else expect(() => push('too many')).toThrow(expect.objectContaining({ code: 'QUEUE_FULL' }))
          expect(line.length).toBe(waiting.length)
        }
        while (serve(false, 1));
        expect(waiting).toEqual([])
        expect(pins).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})

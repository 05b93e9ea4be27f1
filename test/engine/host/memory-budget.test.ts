import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MemoryBudget, type ResidentKind } from '../../../src/engine/host/memory-budget.js'

function ledger(budgetBytes: number, shares: Partial<Record<ResidentKind, number>> = {}) {
  const budget = new MemoryBudget({ budgetBytes, shares })
  const evicted: string[] = []
  const reserve = (id: string, bytes: number, kind: ResidentKind = 'model') =>
    budget.reserve({ id, kind, bytes, what: id, evict: () => evicted.push(id) })
  return { budget, evicted, reserve }
}

describe('the memory budget', () => {
  test('evicts the least recently used first', () => {
    const { budget, evicted, reserve } = ledger(100)
    reserve('a', 40)
    reserve('b', 40)
    budget.touch('a')
    reserve('c', 40)
    expect(evicted).toEqual(['b'])
    expect(budget.usedBytes).toBe(80)
  })

  test('never evicts what is pinned, and says what did not fit', () => {
    const { budget, evicted, reserve } = ledger(100)
    const unpin = budget.pin('a')
    reserve('a', 60)
    expect(() => reserve('b', 50)).toThrow(expect.objectContaining({ code: 'MEMORY_EXCEEDED' }))
    expect(evicted).toEqual([])
    unpin()
    unpin() // a second call must not take another's pin away
    reserve('b', 50)
    expect(evicted).toEqual(['a'])
  })

  test('evicts nothing when that would not make enough room', () => {
    const { budget, evicted, reserve } = ledger(100)
    budget.pin('a')
    reserve('a', 60)
    reserve('b', 30)
    expect(() => reserve('c', 50)).toThrow(expect.objectContaining({ code: 'MEMORY_EXCEEDED' }))
    expect(evicted).toEqual([])
  })

  test('a kind over its share evicts its own before anything else', () => {
    const { evicted, reserve } = ledger(100, { picture: 0.25 })
    reserve('model', 70)
    for (let index = 0; index < 5; index++) reserve(`picture ${index}`, 10, 'picture')
    expect(evicted).toEqual(['picture 0', 'picture 1', 'picture 2'])
    expect(() => reserve('large', 26, 'picture')).toThrow(expect.objectContaining({ code: 'MEMORY_EXCEEDED' }))
  })

  test('an estimate that was too low evicts others, and is entered even when there is nothing left to evict', () => {
    const { budget, evicted, reserve } = ledger(100)
    reserve('a', 40)
    reserve('b', 40)
    budget.resize('b', 90)
    expect(evicted).toEqual(['a'])
    budget.pin('b')
    budget.resize('b', 120)
    expect(budget.usedBytes).toBe(120)
  })

  test('tells when something is idle', async () => {
    const { budget } = ledger(100)
    await budget.idle('a')
    const first = budget.pin('a')
    const second = budget.pin('a')
    let idle = false
    const waiting = budget.idle('a').then(() => {
      idle = true
    })
    first()
    await Promise.resolve()
    expect(idle).toBe(false)
    second()
    await waiting
    expect(idle).toBe(true)
  })

  test('over any sequence of calls: pinned things stay, bytes add up, and the budget holds unless all that is left is pinned', () => {
    const id = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f')
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('reserve' as const),
        id,
        bytes: fc.nat(70),
        of: fc.constantFrom<ResidentKind>('model', 'picture', 'cache'),
      }),
      fc.record({ kind: fc.constant('resize' as const), id, bytes: fc.nat(120) }),
      fc.record({ kind: fc.constant('pin' as const), id }),
      fc.record({ kind: fc.constant('unpin' as const), id }),
      fc.record({ kind: fc.constant('touch' as const), id }),
      fc.record({ kind: fc.constant('release' as const), id }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const budget = new MemoryBudget({ budgetBytes: 100, shares: { picture: 0.4 } })
        const pins = new Map<string, (() => void)[]>()
        const isPinned = (of: string) => (pins.get(of)?.length ?? 0) > 0
        for (const step of steps) {
          if (step.kind === 'reserve') {
            if (budget.has(step.id)) continue
            const evict = () => expect(isPinned(step.id)).toBe(false)
            try {
              budget.reserve({ id: step.id, kind: step.of, bytes: step.bytes, what: step.id, evict })
              expect(budget.has(step.id)).toBe(true)
            } catch (error) {
              expect(error).toMatchObject({ code: 'MEMORY_EXCEEDED' })
            }
          } else if (step.kind === 'resize') budget.resize(step.id, step.bytes)
          else if (step.kind === 'pin') pins.set(step.id, [...(pins.get(step.id) ?? []), budget.pin(step.id)])
          else if (step.kind === 'unpin') {
            const held = pins.get(step.id)?.pop()
            held?.()
          } else if (step.kind === 'touch') budget.touch(step.id)
          else budget.release(step.id)

          const residents = budget.residents()
          expect(budget.usedBytes).toBe(residents.reduce((sum, { bytes }) => sum + bytes, 0))
          if (budget.usedBytes > 100) expect(residents.filter((resident) => !isPinned(resident.id))).toEqual([])
        }
      }),
      { numRuns: 500 },
    )
  })
})

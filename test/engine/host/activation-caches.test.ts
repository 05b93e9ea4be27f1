import { expect, test } from 'vitest'
import { ActivationCaches } from '../../../src/engine/host/activation-caches.js'
import { MemoryBudget } from '../../../src/engine/host/memory-budget.js'
import { float32 } from '../../../src/engine/tensor.js'

const about = { modelId: 'm', tower: 'vision' } as const
const tensor = (length: number) => float32([length], new Float32Array(length).fill(1))

function make({ budgetBytes = 1000 } = {}) {
  const budget = new MemoryBudget({ budgetBytes })
  const clock = { ms: 0 }
  return { budget, clock, caches: new ActivationCaches({ budget, maxAgeMs: 100, now: () => clock.ms }) }
}

test('keeps activations by an id that cannot be guessed, and counts their bytes', () => {
  const { budget, caches } = make()
  const activations = { 'blocks.0.hook_resid_post': tensor(10) }
  const [one, other] = [caches.keep(activations, about), caches.keep(activations, about)]
  expect(one).not.toBe(other)
  expect(one).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-/)
  expect(caches.get(one)).toEqual({ activations, about })
  expect(caches.get('another')).toBeUndefined()
  expect(budget.usedBytes).toBe(80)
})

test('the least recently used goes first when the budget is full', () => {
  const { caches } = make({ budgetBytes: 80 })
  const [first, second] = [caches.keep({ x: tensor(10) }, about), caches.keep({ x: tensor(10) }, about)]
  caches.get(first)
  const third = caches.keep({ x: tensor(10) }, about)
  expect([first, second, third].map((id) => caches.get(id) !== undefined)).toEqual([true, false, true])
})

test('one that does not fit at all counts as evicted', () => {
  const { budget, caches } = make({ budgetBytes: 10 })
  expect(caches.get(caches.keep({ x: tensor(10) }, about))).toBeUndefined()
  expect(budget.usedBytes).toBe(0)
})

test('old ones are gone, however recently they were used', () => {
  const { budget, clock, caches } = make()
  const old = caches.keep({ x: tensor(10) }, about)
  clock.ms = 60
  const young = caches.keep({ x: tensor(10) }, about)
  caches.get(old)
  clock.ms = 101
  expect(caches.get(old)).toBeUndefined()
  expect(caches.get(young)).toBeDefined()
  expect(budget.usedBytes).toBe(40)
})

test('a view does not keep the larger buffer behind it alive', () => {
  const { budget, caches } = make()
  const id = caches.keep({ x: { dtype: 'float32', shape: [2], data: new Float32Array(100).subarray(3, 5) } }, about)
  expect(caches.get(id)!.activations.x!.data.buffer.byteLength).toBe(8)
  expect(budget.usedBytes).toBe(8)
})

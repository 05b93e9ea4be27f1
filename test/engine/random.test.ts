import { expect, test } from 'vitest'
import { createRandom, resumeRandom } from '../../src/engine/random.js'

const draw = (n: number, next: () => number) => Array.from({ length: n }, next)

test('the same seed gives the same numbers, another seed others', () => {
  expect(draw(20, createRandom(7).bits)).toEqual(draw(20, createRandom(7).bits))
  expect(draw(20, createRandom(7).bits)).not.toEqual(draw(20, createRandom(8).bits))
})

test('follows xoshiro128**: from state 1, 2, 3, 4 its published first numbers', () => {
  // The reference implementation in C (prng.di.unimi.it/xoshiro128starstar.c), run by hand.
  expect(draw(5, resumeRandom(0, [1, 2, 3, 4]).bits)).toEqual([11520, 0, 5927040, 70819200, 2031721883])
})

test('goes on from a state as if it had never stopped', () => {
  const random = createRandom(3)
  draw(100, random.bits)
  const resumed = resumeRandom(3, random.state())
  expect(draw(50, resumed.normal)).toEqual(draw(50, random.normal))
})

test('a fork depends on seed and label only', () => {
  const random = createRandom(11)
  const before = draw(10, random.fork('epoch 3').bits)
  draw(100, random.bits)
  expect(draw(10, random.fork('epoch 3').bits)).toEqual(before)
  expect(draw(10, random.fork('epoch 4').bits)).not.toEqual(before)
  expect(draw(10, createRandom(12).fork('epoch 3').bits)).not.toEqual(before)
})

test('uniform, normal and below have the moments they should', () => {
  const random = createRandom(5)
  const n = 200_000
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const uniform = draw(n, random.uniform)
  expect(mean(uniform)).toBeCloseTo(0.5, 2)
  expect(Math.min(...uniform.slice(0, 50_000))).toBeGreaterThanOrEqual(0)
  expect(Math.max(...uniform.slice(0, 50_000))).toBeLessThan(1)
  const normal = draw(n, random.normal)
  expect(Math.abs(mean(normal))).toBeLessThan(0.01)
  expect(mean(normal.map((value) => value ** 2))).toBeCloseTo(1, 1)
  expect(normal.every(Number.isFinite)).toBe(true)
  const counts = new Array<number>(7).fill(0)
  for (const value of draw(70_000, () => random.below(7))) counts[value]!++
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500)
})

test('a permutation holds each number once, and any first number is as likely as another', () => {
  const random = createRandom(9)
  expect([...random.permutation(100)].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, index) => index))
  const first = new Array<number>(5).fill(0)
  for (let round = 0; round < 10_000; round++) first[random.permutation(5)[0]!]!++
  for (const count of first) expect(Math.abs(count - 2000)).toBeLessThan(250)
  expect(random.permutation(0)).toHaveLength(0)
})

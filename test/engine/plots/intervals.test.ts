import { expect, test } from 'vitest'
import { plotIntervals } from '../../../src/engine/plots/intervals.js'

const about = { title: 'L0 on <animals>', x: 'latents', reference: 'published' }
const numbers = (svg: string, pattern: RegExp) => [...svg.matchAll(pattern)].map(([, value]) => Number(value))

test('a value lies within its interval, and an equal reference on it', () => {
  const svg = plotIntervals([{ label: 'a', value: 10, low: 5, high: 15, reference: 10 }], about)
  const [dot, ring] = numbers(svg, /cx="([\d.]+)" cy="11"/g)
  const [from] = numbers(svg, /d="M([\d.]+) 11H/g)
  const [to] = numbers(svg, /d="M[\d.]+ 11H([\d.]+)"/g)
  expect(ring).toBe(dot)
  expect(dot! - from!).toBeCloseTo(to! - dot!, 1)
})

test('rows stand in their order, and larger values further to the right', () => {
  const svg = plotIntervals(
    [3, 1, 2].map((value) => ({ label: String(value), value })),
    about,
  )
  const [three, one, two] = numbers(svg, /<circle cx="([\d.]+)" cy="\d+" r="4"/g) as [number, number, number]
  expect(one).toBeLessThan(two)
  expect(two).toBeLessThan(three)
  expect(numbers(svg, /cy="(\d+)" r="4"/g)).toEqual([11, 33, 55])
})

test('it says in words what it shows, and names cannot break out of the document', () => {
  const svg = plotIntervals([{ label: '</svg><script>', value: 1 }], about)
  expect(svg).not.toContain('<script>')
  expect(svg).toContain('L0 on &#60;animals&#62;, in latents.')
  expect(svg).not.toContain('measured</text>')
})

test.each([0, -3, 1e-9])('a single value of %s has an axis', (value) => {
  const svg = plotIntervals([{ label: 'a', value }], about)
  expect(svg).not.toMatch(/NaN|Infinity|undefined/)
  expect(svg).toBe(plotIntervals([{ label: 'a', value }], about))
})

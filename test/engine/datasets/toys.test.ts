import { describe, expect, test } from 'vitest'
import type { Dataset } from '../../../src/engine/datasets/dataset.js'
import { circle } from '../../../src/engine/datasets/toys/circle.js'
import { induction, polygenicInduction } from '../../../src/engine/datasets/toys/induction.js'
import { drawShape, shapes } from '../../../src/engine/datasets/toys/shapes.js'
import type { Pixels } from '../../../src/engine/image/pixels.js'
import { itemsOf } from './pictures.js'

function drawn(dataset: Dataset, index: number): Pixels {
  const { picture } = dataset.item(index)
  if (picture.kind !== 'drawn') throw new Error('a toy is drawn')
  return picture.draw()
}

/** `#` where a pixel is not black. */
function shown({ width, height, data }: Pixels): string[] {
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) => (data[row * width + column] === 0 ? '.' : '#')).join(''),
  )
}

function labelCounts(dataset: Dataset): number[] {
  const counts = new Array<number>(dataset.nClasses!).fill(0)
  for (const { label } of itemsOf(dataset)) counts[label!]!++
  return counts
}

const transposed = (rows: readonly string[]) => Array.from(rows[0]!, (_, column) => rows.map((row) => row[column]).join(''))
const find = (dataset: Dataset, facets: object) =>
  itemsOf(dataset).findIndex((item) => Object.entries(facets).every(([key, value]) => item.facets[key] === value))

describe('induction', () => {
  const dataset = induction()

  test('has 1632 pictures of each of its four labels, none twice', () => {
    expect(labelCounts(dataset)).toEqual([1632, 1632, 1632, 1632])
    expect(new Set(itemsOf(dataset).map((_, index) => Buffer.from(drawn(dataset, index).data).toString('latin1'))).size).toBe(dataset.size)
  })

  test('draws a disc of radius 2 and, 7 pixels to its right, another', () => {
    const index = find(dataset, { direction: 'horizontal', shapes: 'circle circle', x: 4, y: 4 })
    const rows = shown(drawn(dataset, index))
    expect(rows.slice(1, 8).map((row) => row.slice(0, 16))).toEqual([
      '................',
      '....#......#....',
      '...###....###...',
      '..#####..#####..',
      '...###....###...',
      '....#......#....',
      '................',
    ])
    expect(dataset.classNames![dataset.item(index).label!]).toBe('horizontal same')
  })

  test('draws lines, an X and a diagonal of five pixels', () => {
    const rows = shown(drawn(dataset, find(dataset, { direction: 'horizontal', shapes: 'x x', x: 6, y: 4 })))
    expect(rows.slice(2, 7).map((row) => row.slice(3, 17))).toEqual([
      '.#...#..#...#.',
      '..#.#....#.#..',
      '...#......#...',
      '..#.#....#.#..',
      '.#...#..#...#.',
    ])
    const lines = shown(drawn(dataset, find(dataset, { direction: 'horizontal', shapes: 'line line', x: 4, y: 4 })))
    expect(lines.map((row) => row[4]).join('')).toBe(`..#####${'.'.repeat(25)}`)
    const diagonal = shown(drawn(dataset, find(dataset, { direction: 'horizontal', shapes: 'diagonal diagonal', x: 4, y: 4 })))
    expect([2, 3, 4, 5, 6].map((at) => diagonal[at]![at])).toEqual(['#', '#', '#', '#', '#'])
  })

  test('is vertical where it is the transpose of a horizontal one', () => {
    const across = find(dataset, { direction: 'horizontal', shapes: 'line line', x: 4, y: 9 })
    const down = find(dataset, { direction: 'vertical', shapes: 'line line', x: 9, y: 4 })
    expect(shown(drawn(dataset, down))).toEqual(transposed(shown(drawn(dataset, across))))
    expect(dataset.classNames![dataset.item(down).label!]).toBe('vertical same')
  })

  test('is balanced by its seed', () => {
    expect(induction({ seed: 0 }).hash).toBe(dataset.hash)
    expect(induction({ seed: 1 }).hash).not.toBe(dataset.hash)
    const names = (seed: number) => itemsOf(induction({ seed })).map(({ facets }) => JSON.stringify(facets))
    expect(names(1)).not.toEqual(names(0))
    expect(names(1)).toEqual(names(1))
  })
})

describe('polygenic induction', () => {
  const dataset = polygenicInduction()

  test('has 2944 pictures of each of its twelve labels', () => {
    expect(dataset.nClasses).toBe(12)
    expect(labelCounts(dataset)).toEqual(new Array(12).fill(2944))
  })

  test('has four shapes in the pattern of its label, in a row for the first six and in a column for the others', () => {
    for (let index = 0; index < dataset.size; index += 997) {
      const { label, facets } = dataset.item(index)
      const places = String(facets.shapes).split(' ')
      const pattern = places.map((shape) => (shape === places[0] ? 'A' : 'B')).join('')
      expect(pattern).toBe(facets.pattern)
      expect(dataset.classNames![label!]).toBe(`${facets.direction} ${pattern}`)
      const { width, data } = drawn(dataset, index)
      const centres = [0, 1, 2, 3].map((place) => {
        const [x, y] = [Number(facets.x), Number(facets.y)]
        return facets.direction === 'horizontal' ? y * width + x + 7 * place : (y + 7 * place) * width + x
      })
      expect(centres.map((at) => data[at])).toEqual([255, 255, 255, 255])
      expect(width).toBe(64)
    }
  })
})

describe('circle', () => {
  const dataset = circle()

  test('has each pair of places once, labelled by their sum modulo 60', () => {
    expect(dataset.size).toBe((60 * 61) / 2)
    for (const { label, facets } of itemsOf(dataset)) expect(label).toBe((Number(facets.a) + Number(facets.b)) % 60)
    expect(new Set(itemsOf(dataset).map((_, index) => Buffer.from(drawn(dataset, index).data).toString('latin1'))).size).toBe(dataset.size)
  })

  test('is a black circle on white with two grey points on it', () => {
    const { data, width } = drawn(dataset, find(dataset, { a: 0, b: 30 }))
    const greys = [...data.keys()].filter((at) => data[at] === 128)
    expect(greys.map((at) => [Math.floor(at / width), at % width])).toEqual([
      [16, 0],
      [16, 31],
    ])
    expect(new Set(data)).toEqual(new Set([0, 128, 255]))
    expect(data[16 * width + 16]).toBe(255)
    const plain = drawn(dataset, find(dataset, { a: 5, b: 5 }))
    expect(plain.data.filter((value) => value === 128)).toHaveLength(1)
  })
})

describe('shapes', () => {
  const dataset = shapes()

  test('are all combinations of the factors, none drawn before it is asked for', () => {
    expect(dataset.size).toBe(737_280)
    expect(dataset.classNames).toEqual(['square', 'ellipse', 'heart'])
    expect(dataset.item(0)).toMatchObject({ label: 0, facets: { scale: 0.5, orientation: 0, positionX: 0, positionY: 0 } })
    expect(dataset.item(dataset.size - 1)).toMatchObject({ label: 2, facets: { scale: 1, positionX: 1, positionY: 1 } })
    expect(dataset.item(dataset.size / 3)).toMatchObject({ label: 1, facets: { shape: 'ellipse' } })
  })

  test('are white on black, 64 x 64, in the middle where they are said to be', () => {
    for (const shape of [0, 1, 2]) {
      for (const [positionX, positionY] of [
        [0, 0],
        [1, 0],
        [0.5, 0.5],
        [0.2, 1],
      ] as const) {
        const { data, width, height } = drawShape({ shape, scale: 1, orientation: 0.7, positionX, positionY })
        expect([width, height, new Set(data)]).toEqual([64, 64, new Set([0, 255])])
        const white = [...data.keys()].filter((at) => data[at] === 255)
        const mean = (of: (at: number) => number) => white.reduce((sum, at) => sum + of(at) + 0.5, 0) / white.length
        expect(Math.abs(mean((at) => at % width) - (16 + 32 * positionX))).toBeLessThan(2)
        expect(Math.abs(mean((at) => Math.floor(at / width)) - (16 + 32 * positionY))).toBeLessThan(2)
        // nothing is cut
        expect(white.some((at) => at < width || at >= 63 * width || at % width === 0 || at % width === 63)).toBe(false)
      }
    }
  })

  test('grow with the square of their scale, whatever way they are turned', () => {
    const area = (shape: number, scale: number, orientation: number) =>
      drawShape({ shape, scale, orientation, positionX: 0.507, positionY: 0.507 }).data.reduce((sum, value) => sum + value / 255, 0)
    for (const shape of [0, 1, 2]) {
      for (const orientation of [0, 0.5, 2, 4]) {
        expect(area(shape, 1, orientation) / area(shape, 0.5, orientation)).toBeGreaterThan(3.6)
        expect(area(shape, 1, orientation) / area(shape, 0.5, orientation)).toBeLessThan(4.4)
        expect(Math.abs(area(shape, 1, orientation) / area(shape, 1, 0) - 1)).toBeLessThan(0.04)
      }
    }
    expect(area(0, 1, 0)).toBe(22 * 22)
  })

  test('may be a sample by a seed', () => {
    const sample = shapes({ sample: 500, seed: 3 })
    expect(sample.size).toBe(500)
    expect(new Set(itemsOf(sample).map(({ name }) => name)).size).toBe(500)
    expect(shapes({ sample: 500, seed: 3 }).hash).toBe(sample.hash)
    expect(shapes({ sample: 500, seed: 4 }).hash).not.toBe(sample.hash)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { columnsOf } from '../../../src/engine/training/run/curves.js'
import { plotCurves } from '../../../src/engine/training/run/plot.js'

/** Every tag that is opened is closed, in order. */
function expectWellFormed(svg: string): void {
  const open: string[] = []
  for (const [, close, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else if (!self) open.push(name!)
  }
  expect(open).toEqual([])
}

const panels = (svg: string) => [...svg.matchAll(/font-size="13" font-weight="600">([^<]*)</g)].map(([, name]) => name)

describe('a plot of curves', () => {
  test('has a panel for each quantity, shared by its training and its evaluation', () => {
    const svg = plotCurves(
      { step: [1, 2, 3], loss: [3, 2, 1], 'evaluation/loss': [null, 2.5, 1.5], learningRate: [0.1, 0.1, 0], nothing: [null, null, null] },
      { title: 'three steps' },
    )
    expect(panels(svg)).toEqual(['loss', 'learningRate'])
    expect(svg).toContain('>evaluation/loss</text>')
    expectWellFormed(svg)
  })

  test('goes through its points: a falling line falls, evenly', () => {
    const svg = plotCurves({ step: [0, 50, 100], loss: [10, 5, 0] }, { title: '' })
    const [, path] = /<path d="M([^"]*)" fill="none" stroke="#0072b2"/.exec(svg)!
    const points = path!.split('L').map((point) => point.split(' ').map(Number))
    expect(points.map(([x]) => x)).toEqual([0, points[2]![0]! / 2, points[2]![0]])
    // Places are written to a tenth of a pixel.
    expect(Math.abs(points[0]![1]! + points[2]![1]! - 2 * points[1]![1]!)).toBeLessThan(0.21)
    expect(points[0]![1]).toBeLessThan(points[2]![1]!)
  })

  test('of many decades is logarithmic', () => {
    const svg = plotCurves({ step: [1, 2, 3], loss: [1e4, 1, 1e-3] }, { title: '' })
    for (const tick of ['0.001', '0.01', '0.1', '1', '10', '100', '1000']) expect(svg).toContain(`>${tick}</text>`)
  })

  test('says names as they are', () => {
    const svg = plotCurves({ step: [1], '<b>&"': [1] }, { title: '<script>' })
    expect(svg).not.toContain('<script>')
    expect(svg).not.toContain('<b>')
    expectWellFormed(svg)
  })

  test('is well formed and finite whatever the numbers', () => {
    const value = fc.oneof(
      fc.double({ noDefaultInfinity: true, noNaN: true, min: -1e30, max: 1e30 }),
      fc.constant(Number.NaN),
      fc.constant(0),
      fc.constantFrom(5e-324, -4.4e-323, 1e-300),
    )
    const point = fc.dictionary(fc.constantFrom('loss', 'a/loss', 'b/loss', 'l0', 'rate'), value)
    fc.assert(
      fc.property(fc.array(point, { maxLength: 500 }), (points) => {
        const svg = plotCurves(columnsOf(points.map((numbers, index) => ({ step: index + 1, numbers }))), { title: 'any' })
        expect(svg).not.toMatch(/NaN|Infinity|undefined/)
        expectWellFormed(svg)
      }),
      { numRuns: 60 },
    )
  })
})

import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { type HistogramAbout, plotHistogram } from '../../../src/engine/plots/histogram.js'

const about: HistogramAbout = { title: 'Activations', x: { label: 'activation', scale: 'linear' }, y: { label: 'patches' } }

/** Bars by what they say of themselves. */
function bars(svg: string) {
  return [...svg.matchAll(/<rect x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)" fill="[^"]*"><title>([^<]*)</g)].map(
    ([, x, y, width, height, title]) => ({ x: Number(x), y: Number(y), width: Number(width), height: Number(height), title }),
  )
}

function expectWellFormed(svg: string): void {
  const open: string[] = []
  for (const [, close, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^>]*?(\/?)>/g)) {
    if (close) expect(open.pop()).toBe(name)
    else if (!self) open.push(name!)
  }
  expect(open).toEqual([])
}

describe('a histogram', () => {
  test('has a bar over each pair of edges, as high as its count', () => {
    const drawn = bars(plotHistogram({ edges: [0, 1, 2, 4], counts: [4, 2, 0] }, about))
    expect(drawn.map(({ title }) => title)).toEqual(['0 to 1: 4', '1 to 2: 2'])
    expect(drawn[0]!.height).toBeCloseTo(2 * drawn[1]!.height, 1)
    expect(drawn[1]!.x).toBeCloseTo(drawn[0]!.width + 0.5, 1)
    // both stand on the axis
    expect(drawn[0]!.y + drawn[0]!.height).toBeCloseTo(drawn[1]!.y + drawn[1]!.height, 1)
  })

  test('of counts far apart is logarithmic, and one is still seen', () => {
    const svg = plotHistogram({ edges: [0, 1, 2, 3], counts: [100_000, 1000, 1] }, about)
    const [most, some, one] = bars(svg).map(({ height }) => height)
    expect(one!).toBeGreaterThan(5)
    expect((most! - some!) / (some! - one!)).toBeCloseTo(2 / 3, 1)
    for (const tick of ['1', '10', '100', '1000', '10k', '100k']) expect(svg).toContain(`>${tick}</text>`)
  })

  test('over exponents writes powers of ten, with what is never active apart', () => {
    const svg = plotHistogram(
      { edges: [-4, -3, -2], counts: [5, 7] },
      { ...about, x: { label: 'density', scale: 'log10' }, apart: { label: 'never', count: 3 }, marks: [{ at: -2.5, label: 'feature 9' }] },
    )
    expect(svg).toContain('>10⁻³</text>')
    expect(bars(svg).map(({ title }) => title)).toEqual(['10⁻⁴ to 10⁻³: 5', '10⁻³ to 10⁻²: 7', 'never: 3'])
    expect(bars(svg)[2]!.x).toBeLessThan(0)
    expect(svg).toContain('>feature 9</text>')
  })

  test('is told in words, too', () => {
    const svg = plotHistogram({ edges: [0, 1, 2], counts: [4, 12] }, { ...about, marks: [{ at: 1.5, label: 'mean' }] })
    expect(svg).toContain('<title>Activations</title>')
    expect(svg).toContain(
      '<desc>Histogram of activation: 16 patches between 0 and 2. Most, 12, are between 1 and 2. mean is at 1.5.</desc>',
    )
  })

  test('says names as they are, but for what no document may hold', () => {
    const svg = plotHistogram({ edges: [0, 1], counts: [1] }, { ...about, title: '<script>\0\ud800&' })
    expect(svg).toContain('<title>&#60;script&#62;&#38;</title>')
    expectWellFormed(svg)
  })

  test('is well formed, finite and the same each time, whatever the numbers', async () => {
    const number = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e30, max: 1e30 })
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(number, { maxLength: 30 }),
        fc.array(fc.nat(1e9), { minLength: 30, maxLength: 30 }),
        fc.constantFrom('linear' as const, 'log10' as const),
        fc.option(fc.nat(100), { nil: undefined }),
        fc.array(number, { maxLength: 2 }),
        async (numbers, counts, scale, apart, marks) => {
          const edges = numbers.map((value) => (scale === 'log10' ? value / 1e29 : value)).sort((a, b) => a - b)
          const histogram = { edges, counts: counts.slice(0, Math.max(0, edges.length - 1)) }
          const with_ = {
            ...about,
            x: { label: 'x', scale },
            ...(apart !== undefined && { apart: { label: 'dead', count: apart } }),
            marks: marks.map((at) => ({ at: scale === 'log10' ? at / 1e29 : at, label: 'here' })),
          }
          const svg = plotHistogram(histogram, with_)
          expect(svg).not.toMatch(/NaN|Infinity|undefined/)
          expectWellFormed(svg)
          expect(plotHistogram(histogram, with_)).toBe(svg)
        },
      ),
      { numRuns: 60 },
    )
  })

  test('can be drawn', async () => {
    const svg = plotHistogram({ edges: [0, 1, 2], counts: [4, 12] }, about)
    expect(await sharp(Buffer.from(svg)).metadata()).toMatchObject({ format: 'svg', width: 460, height: 280 })
  })
})

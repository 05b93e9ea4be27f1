import { describe, expect, test } from 'vitest'
import { type DoseAbout, type DosePanel, plotDoseResponse } from '../../../src/engine/plots/dose-response.js'

const about: DoseAbout = {
  title: 'Dose & response',
  strengths: [2, -1, 0],
  x: 'strength',
  y: 'score',
  legend: ['<first>', 'second'],
  band: 'random directions',
}
const panel: DosePanel = {
  title: 'cat',
  default: 1,
  lines: [
    [3, 0, 1],
    [1, 2, 1],
  ],
  bands: [
    { low: [0, 0, 1], high: [2, 2, 1] },
    { low: [0, 0, 1], high: [2, 2, 1] },
  ],
}
const count = (text: string, part: RegExp) => text.match(part)?.length ?? 0

describe('dose-response curves', () => {
  test('have a line for each direction, a dot for each strength, one band for equal ones, and a legend', () => {
    const svg = plotDoseResponse([panel], about)
    expect(count(svg, /<circle/g)).toBe(6)
    expect(count(svg, /stroke-width="1.5"/g)).toBe(2)
    // the one of the panel and the one of the legend
    expect(count(svg, /fill-opacity="0.22"/g)).toBe(2)
    expect(svg).toContain('random directions')
    expect(svg).toContain('&#60;first&#62;')
    expect(svg).not.toContain('<first>')
    expect(plotDoseResponse([panel], about)).toBe(svg)
  })

  test('go from left to right whatever order strengths are in', () => {
    const [path] = plotDoseResponse([panel], about)
      .match(/<path d="(M[^"]*)" fill="none" stroke="#0072b2"/)!
      .slice(1) as [string]
    const xs = [...path.matchAll(/[ML]([\d.]+) /g)].map(([, x]) => Number(x))
    expect(xs).toEqual(xs.toSorted((a, b) => a - b))
    expect(xs).toHaveLength(3)
  })

  test('are broken where a value is not finite, and drawn where none is', () => {
    const svg = plotDoseResponse(
      [
        {
          ...panel,
          lines: [
            [Number.NaN, 0, 1],
            [Number.NaN, Number.NaN, Number.NaN],
          ],
          bands: [],
        },
      ],
      about,
    )
    expect(svg).not.toContain('NaN')
    expect(count(svg, /<circle/g)).toBe(2)
    expect(plotDoseResponse([{ ...panel, lines: [], bands: [], default: Number.NaN }], about)).not.toContain('NaN')
  })

  test('stand side by side, three in a row, with a description in words', () => {
    const svg = plotDoseResponse(
      Array.from({ length: 5 }, () => panel),
      about,
    )
    expect(svg).toMatch(/width="976"/)
    expect(svg).toContain('&#60;first&#62; from 0 to 3')
    expect(plotDoseResponse([panel], { ...about, strengths: [1], legend: ['one'] })).not.toContain('NaN')
  })
})

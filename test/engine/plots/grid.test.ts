import { describe, expect, test } from 'vitest'
import { colormap } from '../../../src/engine/image/colormaps.js'
import { plotGrid } from '../../../src/engine/plots/grid.js'

const about = {
  title: 'Patched heads <of> a run',
  rows: { name: 'layer', labels: ['0', '1'] },
  columns: { name: 'head', labels: ['0', '1', '2'] },
  value: 'share of the way',
  colours: colormap('coolwarm'),
}
const cells = (svg: string) => [...svg.matchAll(/fill="(#\w{6})"><title>([^<]*)<\/title>/g)].map(([, fill, title]) => ({ fill, title }))

describe('a grid as a picture', () => {
  test('has a cell for each number, named by its row and column', () => {
    const svg = plotGrid([{ values: [0, 0.5, -1, 1, Number.NaN, 0.25] }], about)
    expect(cells(svg).map(({ title }) => title)).toEqual([
      'layer 0, head 0: 0',
      'layer 0, head 1: 0.5',
      'layer 0, head 2: -1',
      'layer 1, head 0: 1',
      'layer 1, head 1: none',
      'layer 1, head 2: 0.25',
    ])
    expect(svg).toContain('Patched heads &#60;of&#62; a run')
    expect(svg).toContain('<desc>')
  })

  test('has one colour for one number in all panels, the neutral one for the centre', () => {
    const svg = plotGrid(
      [
        { title: 'a', values: [0, 1, 2, 0, 0, 0] },
        { title: 'b', values: [1, -2, 0, 0, 0, 0] },
      ],
      about,
    )
    const [a, b] = [cells(svg).slice(0, 6), cells(svg).slice(6)]
    expect(a[1]!.fill).toBe(b[0]!.fill)
    expect(a[0]!.fill).toBe(b[2]!.fill)
    const channels = (fill: string) => [1, 3, 5].map((at) => Number.parseInt(fill.slice(at, at + 2), 16))
    const neutral = channels(a[0]!.fill!)
    expect(Math.max(...neutral) - Math.min(...neutral)).toBeLessThan(12)
    expect(channels(a[2]!.fill!)[0]).toBeGreaterThan(channels(a[2]!.fill!)[2]!)
    expect(channels(b[1]!.fill!)[2]).toBeGreaterThan(channels(b[1]!.fill!)[0]!)
  })

  test('of nothing but missing numbers is still one', () => {
    expect(cells(plotGrid([{ values: Array(6).fill(Number.NaN) }], about))).toHaveLength(6)
  })
})

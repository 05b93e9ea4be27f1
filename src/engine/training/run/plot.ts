/**
 * Curves as a picture: an SVG with a panel for each quantity, drawn here because it is all that is needed of plotting. Curves whose names
 * differ only in what stands before a slash (`loss`, `evaluation/loss`) share a panel. A quantity that is positive and spans more than
 * two decades is drawn on a logarithmic axis.
 */

import { type Axis, extent, label, linearAxis, logAxis, padded } from '../../plots/axes.js'
import { escaped, rounded, svgDocument } from '../../plots/svg.js'

/** Columns of equal length; null where nothing was measured. */
export type CurveColumns = Readonly<Record<string, readonly (number | null)[]>>

export interface PlotOptions {
  readonly title: string
}

interface Series {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

interface Panel {
  readonly name: string
  readonly series: readonly Series[]
}

const [panelWidth, panelHeight] = [460, 260]
const margin = { left: 62, right: 22, top: 30, bottom: 38 }
const [plotWidth, plotHeight] = [panelWidth - margin.left - margin.right, panelHeight - margin.top - margin.bottom]
const headerHeight = 44
/** Distinguishable without colour vision (Okabe and Ito). */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000']
/** One for every third pixel: more of them cannot be told apart, and the files grow. */
const mostPoints = 140
const toTenths = (place: number) => Math.round(place * 10) / 10

export function plotCurves(columns: CurveColumns, { title }: PlotOptions): string {
  const panels = panelsOf(columns)
  const nColumns = Math.min(2, Math.max(1, panels.length))
  const width = nColumns * panelWidth
  const height = headerHeight + Math.max(1, Math.ceil(panels.length / nColumns)) * panelHeight
  const drawn = panels.map((panel, index) => {
    const [x, y] = [(index % nColumns) * panelWidth, headerHeight + Math.floor(index / nColumns) * panelHeight]
    return `<g transform="translate(${x} ${y})">${drawPanel(panel)}</g>`
  })
  const description = `Curves over the steps of a run: ${panels.map(({ name }) => name).join(', ')}.`
  return svgDocument({ width, height, title, description }, [
    `<text x="${margin.left}" y="28" font-size="16" font-weight="600">${escaped(title)}</text>`,
    ...drawn,
  ])
}

function panelsOf({ step: steps = [], ...columns }: CurveColumns): Panel[] {
  const panels = new Map<string, Series[]>()
  for (const [name, values] of Object.entries(columns)) {
    const points = values.flatMap((value, index) => (value === null ? [] : [[steps[index]!, value] as const]))
    if (points.length === 0) continue
    const quantity = name.slice(name.lastIndexOf('/') + 1)
    const series = panels.get(quantity) ?? []
    panels.set(quantity, series)
    series.push({ name, points })
  }
  return [...panels].map(([name, series]) => ({ name, series }))
}

function drawPanel({ name, series }: Panel): string {
  const points = series.flatMap((one) => one.points)
  const x = linearAxis(extent(points.map(([step]) => step)), { length: plotWidth, leastStep: 1 })
  const values = extent(points.map(([, value]) => value))
  const up = values[0] > 0 && values[1] / values[0] > 100 ? logAxis(values, plotHeight) : linearAxis(padded(values), { length: plotHeight })
  const y: Axis = { ticks: up.ticks, place: (value) => plotHeight - up.place(value) }
  return [
    `<text x="${margin.left}" y="18" font-size="13" font-weight="600">${escaped(name)}</text>`,
    `<g transform="translate(${margin.left} ${margin.top})">`,
    ...y.ticks.map((tick) => {
      const at = rounded(y.place(tick))
      return `<path d="M0 ${at}H${plotWidth}" stroke="#e6e6e6"/><text x="-8" y="${at + 4}" text-anchor="end">${label(tick)}</text>`
    }),
    ...x.ticks.map((tick) => {
      const at = rounded(x.place(tick))
      return `<path d="M${at} ${plotHeight}v4" stroke="#888"/><text x="${at}" y="${plotHeight + 17}" text-anchor="middle">${label(tick)}</text>`
    }),
    `<path d="M0 0V${plotHeight}H${plotWidth}" fill="none" stroke="#888"/>`,
    `<text x="${plotWidth}" y="${plotHeight + 32}" text-anchor="end" fill="#666">step</text>`,
    ...series.map((one, index) => drawSeries(one, { x, y, colour: colours[index % colours.length]! })),
    ...(series.length > 1 ? legend(series, name) : []),
    '</g>',
  ].join('\n')
}

function drawSeries({ points }: Series, { x, y, colour }: { x: Axis; y: Axis; colour: string }): string {
  const path = (through: Series['points']) =>
    `M${through.map(([step, value]) => `${toTenths(x.place(step))} ${toTenths(y.place(value))}`).join('L')}`
  if (points.length === 1) {
    const [step, value] = points[0]!
    return `<circle cx="${rounded(x.place(step))}" cy="${rounded(y.place(value))}" r="2.5" fill="${colour}"/>`
  }
  const line = (through: Series['points'], more: string) =>
    `<path d="${path(through)}" fill="none" stroke="${colour}" stroke-linejoin="round" ${more}/>`
  if (points.length <= mostPoints / 2) return line(points, 'stroke-width="1.8"')
  // Many noisy points: their range in pale, a running mean on top.
  return line(thinned(points), 'stroke-width="0.8" stroke-opacity="0.3"') + line(smoothed(points), 'stroke-width="1.8"')
}

/** In the line of the panel's title where there is room; else one under the other in the plot's corner. */
function legend(series: readonly Series[], panelName: string): string[] {
  const widths = series.map(({ name }) => 34 + 6 * name.length)
  const isRow = widths.reduce((sum, width) => sum + width, 0) < plotWidth - 9 * panelName.length
  const entry = ({ name }: Series, index: number, x: number, y: number) =>
    `<path d="M${x - 14} ${y}h14" stroke="${colours[index % colours.length]}" stroke-width="2.5"/>` +
    `<text x="${x - 20}" y="${y + 4}" text-anchor="end">${escaped(name)}</text>`
  if (isRow) {
    const right = (index: number) => plotWidth - widths.slice(index + 1).reduce((sum, width) => sum + width, 0)
    return series.map((one, index) => entry(one, index, right(index), -16))
  }
  const width = Math.max(...widths)
  const backdrop = `<rect x="${plotWidth - width}" y="0" width="${width}" height="${15 * series.length + 4}" fill="#fff" fill-opacity="0.8"/>`
  return [backdrop, ...series.map((one, index) => entry(one, index, plotWidth, 10 + 15 * index))]
}

/** The lowest and the highest point of each stretch, in order. */
function thinned(points: Series['points']): Series['points'] {
  const perStretch = Math.ceil((2 * points.length) / mostPoints)
  const kept: (readonly [number, number])[] = []
  for (let from = 0; from < points.length; from += perStretch) {
    const stretch = points.slice(from, from + perStretch)
    const lowest = stretch.reduce((best, point) => (point[1] < best[1] ? point : best))
    const highest = stretch.reduce((best, point) => (point[1] > best[1] ? point : best))
    kept.push(...(lowest === highest ? [lowest] : lowest[0] < highest[0] ? [lowest, highest] : [highest, lowest]))
  }
  return kept
}

/** Means of stretches, at their middles. */
function smoothed(points: Series['points']): Series['points'] {
  const perStretch = Math.ceil((4 * points.length) / mostPoints)
  const mean = (numbers: readonly number[]) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length
  return Array.from({ length: Math.ceil(points.length / perStretch) }, (_, index) => {
    const stretch = points.slice(index * perStretch, (index + 1) * perStretch)
    return [mean(stretch.map(([step]) => step)), mean(stretch.map(([, value]) => value))] as const
  })
}

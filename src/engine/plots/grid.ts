/** A grid of numbers as an SVG heatmap: rows and columns with their labels, and a bar that says what colours stand for. Several grids share one scale. */

import { extent, label, linearAxis } from './axes.js'
import { escaped, rounded, shortened, svgDocument } from './svg.js'

export interface GridPanel {
  /** Above the grid, where there are several. */
  readonly title?: string
  /** Row by row; NaN: no number. */
  readonly values: ArrayLike<number>
}

export interface GridAbout {
  readonly title: string
  readonly rows: { readonly name: string; readonly labels: readonly string[] }
  readonly columns: { readonly name: string; readonly labels: readonly string[] }
  /** What the numbers are. */
  readonly value: string
  /** Which number has the neutral colour in the middle. Default 0. */
  readonly centre?: number
  /** Below the title. */
  readonly note?: string
  /** From the lowest number to the highest, `[n, 3]` RGB bytes; neutral in the middle. */
  readonly colours: Uint8Array
}

const margin = { left: 64, right: 96, top: 72, bottom: 46 }
const [smallest, largest] = [7, 26]
/** Of all columns of a panel, as far as cells are not too small for it. */
const preferredWidth = 560
/** Of a note above the grid. */
const MOST_CHARACTERS = 60
const [barWidth, barGap, panelGap] = [14, 22, 40]
/** Labels that have room side by side, in pixels. */
const [labelWidth, labelHeight] = [22, 12]

/** Cells are square; one panel is below the other. */
export function plotGrid(panels: readonly GridPanel[], about: GridAbout): string {
  const { title, rows, columns, value, centre = 0, note, colours } = about
  const [nRows, nColumns] = [rows.labels.length, columns.labels.length]
  const cell = Math.max(smallest, Math.min(largest, Math.floor(preferredWidth / Math.max(1, nColumns))))
  const [gridWidth, gridHeight] = [cell * nColumns, cell * nRows]
  const plotWidth = Math.max(gridWidth, 240)
  const step = gridHeight + panelGap
  const width = margin.left + plotWidth + margin.right
  const height = margin.top + Math.max(step * panels.length - panelGap, 90) + margin.bottom
  const numbers = panels.flatMap(({ values }) => Array.from(values).filter(Number.isFinite))
  const reach = Math.max(...extent(numbers.length > 0 ? numbers : [centre]).map((end) => Math.abs(end - centre)), 1e-12)
  const colourOf = (share: number) => {
    const nColours = colours.length / 3
    const at = 3 * Math.max(0, Math.min(nColours - 1, Math.floor(share * nColours)))
    return `#${[0, 1, 2].map((channel) => colours[at + channel]!.toString(16).padStart(2, '0')).join('')}`
  }
  const shareOf = (number: number) => (number - centre + reach) / (2 * reach)
  const cellsOf = ({ values }: GridPanel) =>
    Array.from(values, (number, at) => {
      const [row, column] = [Math.floor(at / nColumns), at % nColumns]
      const fill = Number.isFinite(number) ? colourOf(shareOf(number)) : '#d9d9d9'
      const name = `${place(about, row, column)}: ${Number.isFinite(number) ? label(number) : 'none'}`
      return `<rect x="${column * cell}" y="${row * cell}" width="${cell}" height="${cell}" fill="${fill}"><title>${escaped(name)}</title></rect>`
    })
  const [everyColumn, everyRow] = [Math.ceil(labelWidth / cell), Math.ceil(labelHeight / cell)]
  const panel = (each: GridPanel, index: number) => [
    `<g transform="translate(${margin.left} ${margin.top + index * step})" shape-rendering="crispEdges">`,
    ...(each.title === undefined ? [] : [`<text y="-8" font-weight="600">${escaped(each.title)}</text>`]),
    ...cellsOf(each),
    ...rows.labels.flatMap((text, row) =>
      row % everyRow === 0 ? [`<text x="-6" y="${rounded((row + 0.5) * cell + 4)}" text-anchor="end">${escaped(text)}</text>`] : [],
    ),
    ...columns.labels.flatMap((text, column) =>
      column % everyColumn === 0
        ? [`<text x="${rounded((column + 0.5) * cell)}" y="${gridHeight + 14}" text-anchor="middle">${escaped(text)}</text>`]
        : [],
    ),
    '</g>',
  ]
  const bottom = margin.top + step * panels.length - panelGap
  return svgDocument({ width, height, title, description: inWords(panels, about) }, [
    `<text x="16" y="24" font-size="15" font-weight="600">${escaped(title)}</text>`,
    ...(note === undefined ? [] : [`<text x="16" y="39" fill="#666">${escaped(shortened(note, MOST_CHARACTERS))}</text>`]),
    `<text x="16" y="${margin.top - 8}" fill="#666">${escaped(rows.name)}</text>`,
    ...panels.flatMap(panel),
    `<text x="${margin.left + gridWidth}" y="${bottom + 32}" text-anchor="end" fill="#666">${escaped(columns.name)}</text>`,
    ...bar(
      { x: margin.left + gridWidth + barGap, y: margin.top, height: Math.max(90, Math.min(gridHeight, 240)) },
      { centre, reach, colourOf, value },
    ),
  ])
}

function bar(
  { x, y, height }: { x: number; y: number; height: number },
  { centre, reach, colourOf, value }: { centre: number; reach: number; colourOf: (share: number) => string; value: string },
): string[] {
  const slices = 64
  const axis = linearAxis([centre - reach, centre + reach], { length: height })
  return [
    ...Array.from({ length: slices }, (_, slice) => {
      const top = rounded(y + (height * slice) / slices)
      return `<rect x="${x}" y="${top}" width="${barWidth}" height="${rounded(height / slices + 0.5)}" fill="${colourOf(1 - (slice + 0.5) / slices)}"/>`
    }),
    ...axis.ticks.map((tick) => {
      const at = rounded(y + height - axis.place(tick))
      return `<path d="M${x + barWidth} ${at}h4" stroke="#888"/><text x="${x + barWidth + 7}" y="${at + 4}">${label(tick)}</text>`
    }),
    `<text x="${x}" y="${y - 10}" fill="#666">${escaped(value)}</text>`,
  ]
}

/** In words; rows without a name are only one. */
function place({ rows, columns }: GridAbout, row: number, column: number): string {
  const ofColumn = `${columns.name} ${columns.labels[column]}`
  return rows.name === '' ? ofColumn : `${rows.name} ${rows.labels[row]}, ${ofColumn}`
}

function inWords(panels: readonly GridPanel[], about: GridAbout): string {
  const { title, rows, columns, value, centre = 0 } = about
  const sentences = panels.map(({ title: name, values }) => {
    const all = Array.from(values)
    const best = all.reduce(
      (most, each, at) => (Math.abs(each - centre) > Math.abs(all[most]! - centre) || Number.isNaN(all[most]!) ? at : most),
      0,
    )
    const where = place(about, Math.floor(best / columns.labels.length), best % columns.labels.length)
    const found =
      all.length > 0 && Number.isFinite(all[best]!) ? `farthest from ${label(centre)} at ${where}: ${label(all[best]!)}` : 'no numbers'
    return `${name === undefined ? '' : `${name}: `}${found}.`
  })
  return [`${title}: ${value} by ${rows.name === '' ? '' : `${rows.name} and `}${columns.name}.`, ...sentences].join(' ')
}

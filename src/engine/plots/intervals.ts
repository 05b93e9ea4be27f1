/** Values with their intervals as an SVG: a row each, the value as a dot, the interval as a line, and a value to compare with as a ring. */

import { label, linearAxis, padded } from './axes.js'
import { escaped, rounded, svgDocument } from './svg.js'

export interface IntervalRow {
  readonly label: string
  readonly value: number
  readonly low?: number
  readonly high?: number
  /** Known from elsewhere. */
  readonly reference?: number
}

export interface IntervalsAbout {
  readonly title: string
  /** What the values are numbers of: `share`. */
  readonly x: string
  /** What references are, for the legend: `published`. */
  readonly reference: string
}

const width = 640
const rowHeight = 22
const margin = { left: 270, right: 24, top: 56, bottom: 42 }
/** Characters that fit beside a row. */
const MAX_LABEL = 44
const [valueColour, referenceColour] = ['#0072b2', '#d55e00']

/** An SVG 640 pixels wide, and as high as there are rows. */
export function plotIntervals(rows: readonly IntervalRow[], { title, x, reference }: IntervalsAbout): string {
  const plotWidth = width - margin.left - margin.right
  const plotHeight = rowHeight * rows.length
  const height = margin.top + plotHeight + margin.bottom
  const places = rows.flatMap(({ value, low = value, high = value, reference: known = value }) => [value, low, high, known])
  const across = linearAxis(places.length > 0 ? padded([Math.min(...places), Math.max(...places)]) : [0, 1], { length: plotWidth })
  const hasReferences = rows.some((row) => row.reference !== undefined)
  const at = (value: number) => rounded(across.place(value))
  const draw = ({ label: name, value, low, high, reference: known }: IntervalRow, row: number): string[] => {
    const middle = rowHeight * (row + 0.5)
    const interval = low === undefined || high === undefined ? '' : ` (${label(low)} to ${label(high)})`
    const others = known === undefined ? '' : `, ${reference} ${label(known)}`
    return [
      `<g><title>${escaped(`${name}: ${label(value)}${interval}${others}`)}</title>`,
      `<text x="-12" y="${middle + 4}" text-anchor="end">${escaped(shortened(name))}</text>`,
      ...(low === undefined || high === undefined
        ? []
        : [`<path d="M${at(low)} ${middle}H${at(high)}" stroke="${valueColour}" stroke-width="2"/>`]),
      `<circle cx="${at(value)}" cy="${middle}" r="4" fill="${valueColour}"/>`,
      ...(known === undefined
        ? []
        : [`<circle cx="${at(known)}" cy="${middle}" r="5" fill="none" stroke="${referenceColour}" stroke-width="1.5"/>`]),
      '</g>',
    ]
  }
  return svgDocument({ width, height, title, description: inWords(rows, { title, x, reference }) }, [
    `<text x="16" y="24" font-size="15" font-weight="600">${escaped(title)}</text>`,
    ...(hasReferences ? legend(reference) : []),
    `<g transform="translate(${margin.left} ${margin.top})">`,
    ...across.ticks.map(
      (tick) =>
        `<path d="M${at(tick)} 0V${plotHeight}" stroke="#e6e6e6"/><text x="${at(tick)}" y="${plotHeight + 17}" text-anchor="middle">${label(tick)}</text>`,
    ),
    `<path d="M0 ${plotHeight}H${plotWidth}" stroke="#888"/>`,
    ...rows.flatMap(draw),
    `<text x="${plotWidth}" y="${plotHeight + 34}" text-anchor="end" fill="#666">${escaped(x)}</text>`,
    '</g>',
  ])
}

function legend(reference: string): string[] {
  return [
    `<circle cx="22" cy="41" r="4" fill="${valueColour}"/><text x="32" y="45" fill="#666">measured</text>`,
    `<circle cx="102" cy="41" r="5" fill="none" stroke="${referenceColour}" stroke-width="1.5"/><text x="112" y="45" fill="#666">${escaped(reference)}</text>`,
  ]
}

/** In the middle: names that begin alike differ at the end. */
function shortened(name: string): string {
  const characters = [...name]
  if (characters.length <= MAX_LABEL) return name
  const kept = MAX_LABEL - 1
  return `${characters.slice(0, Math.floor(kept / 2)).join('')}…${characters.slice(-Math.ceil(kept / 2)).join('')}`
}

function inWords(rows: readonly IntervalRow[], { title, x, reference }: IntervalsAbout): string {
  const sentences = rows.map(({ label: name, value, low, high, reference: known }) => {
    const interval = low === undefined || high === undefined ? '' : ` between ${label(low)} and ${label(high)}`
    return `${name}: ${label(value)}${interval}${known === undefined ? '' : `, ${reference} ${label(known)}`}.`
  })
  return [`${title}, in ${x}.`, ...sentences].join(' ')
}

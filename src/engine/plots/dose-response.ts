/**
 * Dose-response curves as an SVG: a panel for each thing that is measured, in each a line for each direction over its strengths, with the band in
 * which random directions lie and the value without any. Panels have a scale of their own.
 */

import { extent, label, linearAxis, padded } from './axes.js'
import { escaped, rounded, shortened, svgDocument } from './svg.js'

export interface DosePanel {
  readonly title: string
  /** Without any direction. */
  readonly default: number
  /** Of each direction of the legend, in its order; of each strength. What is not finite is left out. */
  readonly lines: readonly (readonly number[])[]
  /** Of random directions; equal ones are drawn once. */
  readonly bands: readonly { readonly low: readonly number[]; readonly high: readonly number[] }[]
}

export interface DoseAbout {
  readonly title: string
  /** In any order; each once. */
  readonly strengths: readonly number[]
  readonly x: string
  readonly y: string
  /** What lines are of. */
  readonly legend: readonly string[]
  /** What bands are of: `random directions, 5 % to 95 %`. */
  readonly band: string
}

const panel = { width: 320, height: 230 }
const margin = { left: 52, right: 14, top: 26, bottom: 30 }
const MOST_COLUMNS = 3
/** More of them on a line would be a line. */
const MOST_DOTS = 80
const legendRow = 18
const header = 46
/** Okabe and Ito's, which people with any kind of colour vision tell apart; after them the same with dashes. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#8a6d00']
const dashes = ['', '5 3', '2 2', '8 3 2 3']
/** As wide as most letters are at this size; a legend is not cut off. */
const CHARACTER = 6.2
const MOST_CHARACTERS = { title: 44, legend: 100, document: 90 }

export function plotDoseResponse(panels: readonly DosePanel[], about: DoseAbout): string {
  const nColumns = Math.max(1, Math.min(MOST_COLUMNS, panels.length))
  const hasBands = panels.some(({ bands }) => bands.length > 0)
  const legend = [...about.legend.map(lineEntry), ...(hasBands ? [bandEntry(about.band)] : []), defaultEntry()]
  const top = header + legendRow * legend.length + 8
  const texts = [...about.legend, ...(hasBands ? [about.band] : [])].map((text) => shortened(text, MOST_CHARACTERS.legend).length)
  const width = Math.max(nColumns * panel.width + 16, 16 + 30 + CHARACTER * Math.max(0, ...texts) + 16)
  const height = top + Math.ceil(panels.length / nColumns) * panel.height + 22
  const order = about.strengths.map((_, index) => index).sort((a, b) => about.strengths[a]! - about.strengths[b]!)
  return svgDocument({ width, height, title: about.title, description: inWords(panels, about) }, [
    `<text x="16" y="24" font-size="15" font-weight="600">${escaped(shortened(about.title, MOST_CHARACTERS.document))}</text>`,
    `<g transform="translate(16 ${header})">`,
    ...legend.map((entry, row) => `<g transform="translate(0 ${row * legendRow})">${entry}</g>`),
    '</g>',
    ...panels.flatMap((each, index) => [
      `<g transform="translate(${(index % nColumns) * panel.width + margin.left} ${top + Math.floor(index / nColumns) * panel.height + margin.top})">`,
      ...drawPanel(each, { ...about, order }),
      '</g>',
    ]),
    `<text x="${width - 16}" y="${height - 10}" text-anchor="end" fill="#666">${escaped(about.x)}</text>`,
  ])
}

function drawPanel(
  { title, default: before, lines, bands }: DosePanel,
  { strengths, order, legend, y }: DoseAbout & { readonly order: readonly number[] },
): string[] {
  const [width, height] = [panel.width - margin.left - margin.right, panel.height - margin.top - margin.bottom]
  const across = linearAxis(rangeOf(strengths), { length: width })
  const values = [before, ...lines.flat(), ...bands.flatMap(({ low, high }) => [...low, ...high])].filter(Number.isFinite)
  const up = linearAxis(values.length > 0 ? padded(extent(values)) : [0, 1], { length: height })
  const x = (index: number) => rounded(across.place(strengths[index]!))
  const yOf = (value: number) => rounded(height - up.place(value))
  const distinct = [...new Map(bands.map((band) => [JSON.stringify([band.low, band.high]), band])).values()]
  return [
    `<text x="${-margin.left + 16}" y="-10" font-weight="600">${escaped(shortened(title, MOST_CHARACTERS.title))}</text>`,
    `<text x="${width}" y="-10" text-anchor="end" fill="#666">${escaped(y)}</text>`,
    ...up.ticks.map((tick) => {
      const at = yOf(tick)
      return `<path d="M0 ${at}H${width}" stroke="#e6e6e6"/><text x="-8" y="${at + 4}" text-anchor="end">${label(tick)}</text>`
    }),
    ...across.ticks.map((tick) => {
      const at = rounded(across.place(tick))
      return `<path d="M${at} ${height}v4" stroke="#888"/><text x="${at}" y="${height + 17}" text-anchor="middle">${label(tick)}</text>`
    }),
    ...distinct.flatMap(({ low, high }) => {
      const known = order.filter((index) => Number.isFinite(low[index]) && Number.isFinite(high[index]))
      const [there, back] = [
        known.map((index) => `${x(index)} ${yOf(high[index]!)}`),
        known.toReversed().map((index) => `${x(index)} ${yOf(low[index]!)}`),
      ]
      return known.length > 1 ? [`<path d="M${[...there, ...back].join('L')}Z" fill="#8a8a8a" fill-opacity="0.22"/>`] : []
    }),
    ...(Number.isFinite(before) ? [`<path d="M0 ${yOf(before)}H${width}" stroke="#333" stroke-dasharray="1 3"/>`] : []),
    `<path d="M0 ${height}H${width}" fill="none" stroke="#888"/>`,
    ...lines.flatMap((line, index) => drawLine(line, { index, name: legend[index] ?? '', order, strengths, x, y: yOf })),
  ]
}

interface LinePlace {
  readonly index: number
  readonly name: string
  readonly order: readonly number[]
  readonly strengths: readonly number[]
  readonly x: (index: number) => number
  readonly y: (value: number) => number
}

/** Where a value is not finite the line is broken. */
function drawLine(line: readonly number[], { index, name, order, strengths, x, y }: LinePlace): string[] {
  let isBroken = true
  const path = order.map((at) => {
    const value = line[at]!
    if (!Number.isFinite(value)) {
      isBroken = true
      return ''
    }
    const step = `${isBroken ? 'M' : 'L'}${x(at)} ${y(value)}`
    isBroken = false
    return step
  })
  const { colour, dash } = styleOf(index)
  const known = order.filter((at) => Number.isFinite(line[at]))
  const dots = (order.length > MOST_DOTS ? [] : known).map(
    (at) =>
      `<circle cx="${x(at)}" cy="${y(line[at]!)}" r="2" fill="${colour}"><title>${escaped(name)}, ${label(strengths[at]!)}: ${label(line[at]!)}</title></circle>`,
  )
  return [`<path d="${path.join('')}" fill="none" stroke="${colour}" stroke-width="1.5"${dash}/>`, ...dots]
}

function styleOf(index: number): { colour: string; dash: string } {
  const dash = dashes[Math.floor(index / colours.length) % dashes.length]!
  return { colour: colours[index % colours.length]!, dash: dash === '' ? '' : ` stroke-dasharray="${dash}"` }
}

function lineEntry(name: string, index: number): string {
  const { colour, dash } = styleOf(index)
  const text = escaped(shortened(name, MOST_CHARACTERS.legend))
  return `<path d="M0 -4h22" stroke="${colour}" stroke-width="2"${dash}/><text x="30" y="0">${text}</text>`
}

const bandEntry = (name: string) =>
  `<rect x="0" y="-9" width="22" height="10" fill="#8a8a8a" fill-opacity="0.22"/><text x="30" y="0">${escaped(name)}</text>`

const defaultEntry = () => '<path d="M0 -4h22" stroke="#333" stroke-dasharray="1 3"/><text x="30" y="0">without</text>'

function rangeOf(strengths: readonly number[]): [number, number] {
  const [low, high] = extent(strengths)
  return high > low ? [low, high] : [low - 0.5, high + 0.5]
}

function inWords(panels: readonly DosePanel[], { title, x, y, strengths, legend }: DoseAbout): string {
  const sentences = panels.map(({ title: of, default: before, lines }) => {
    const ends = lines.map((line, index) => {
      const known = line.filter(Number.isFinite)
      return known.length > 0
        ? `${legend[index]} from ${label(Math.min(...known))} to ${label(Math.max(...known))}`
        : `${legend[index]} nowhere`
    })
    const without = Number.isFinite(before) ? [`${label(before)} without`] : []
    return `${of}: ${[...without, ...ends].join('; ')}.`
  })
  const [low, high] = extent(strengths)
  return `${title}. ${y} over ${x}, from ${label(low)} to ${label(high)}. ${sentences.join(' ')}`
}

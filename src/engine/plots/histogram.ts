/**
 * A histogram as an SVG: bars over edges, marks at chosen values, and what is on no such axis (a density of zero on a logarithmic one) as a bar
 * apart. Counts that span more than two decades stand on a logarithmic axis, where one is still to be seen.
 */

import { type Axis, label, linearAxis, logAxis } from './axes.js'
import { escaped, rounded, svgDocument } from './svg.js'

export interface Histogram {
  /** Ascending; one more than counts. */
  readonly edges: readonly number[]
  readonly counts: readonly number[]
}

export interface HistogramAbout {
  readonly title: string
  /** What the edges are numbers of. `log10`: the edges are exponents of ten, and are written as powers. */
  readonly x: { readonly label: string; readonly scale: 'linear' | 'log10' }
  /** What is counted: `patches`. */
  readonly y: { readonly label: string }
  readonly marks?: readonly { readonly at: number; readonly label: string }[]
  readonly apart?: { readonly label: string; readonly count: number }
}

const [width, height] = [460, 280]
const margin = { left: 62, right: 18, top: 58, bottom: 44 }
const plotHeight = height - margin.top - margin.bottom
/** Of the bar apart, with its distance from the others. */
const [apartWidth, apartGap] = [26, 28]
const [barColour, apartColour, markColour] = ['#0072b2', '#8a8a8a', '#d55e00']

/** An SVG of 460 x 280 pixels. */
export function plotHistogram({ edges, counts }: Histogram, about: HistogramAbout): string {
  const { title, x, y, marks = [], apart } = about
  const left = apart ? margin.left + apartWidth + apartGap : margin.left
  const plotWidth = width - left - margin.right
  const [low, high] = rangeOf(edges, marks)
  const across = x.scale === 'log10' ? exponentAxis([low, high], plotWidth) : linearAxis([low, high], { length: plotWidth })
  const up = countAxis([...counts, ...(apart ? [apart.count] : [])])
  const written = x.scale === 'log10' ? powerOfTen : label
  const bar = (from: number, to: number, { count, name, colour }: { count: number; name: string; colour: string }) => {
    const top = up.place(count)
    const box = `x="${rounded(from)}" y="${rounded(plotHeight - top)}" width="${rounded(Math.max(0.5, to - from - 0.5))}" height="${rounded(top)}"`
    return count > 0 ? [`<rect ${box} fill="${colour}"><title>${escaped(name)}: ${label(count)}</title></rect>`] : []
  }
  const bars = counts.flatMap((count, index) => {
    const [from, to] = [edges[index]!, edges[index + 1]!]
    return bar(across.place(from), across.place(to), { count, name: `${written(from)} to ${written(to)}`, colour: barColour })
  })
  const apartLeft = margin.left - left
  return svgDocument({ width, height, title, description: inWords({ edges, counts }, about, written) }, [
    `<text x="16" y="24" font-size="15" font-weight="600">${escaped(title)}</text>`,
    `<g transform="translate(${left} ${margin.top})">`,
    ...up.ticks.map((tick) => {
      const at = rounded(plotHeight - up.place(tick))
      return `<path d="M${apartLeft} ${at}H${plotWidth}" stroke="#e6e6e6"/><text x="${apartLeft - 8}" y="${at + 4}" text-anchor="end">${label(tick)}</text>`
    }),
    ...across.ticks.map((tick) => {
      const at = rounded(across.place(tick))
      return `<path d="M${at} ${plotHeight}v4" stroke="#888"/><text x="${at}" y="${plotHeight + 17}" text-anchor="middle">${written(tick)}</text>`
    }),
    ...bars,
    ...(apart
      ? [
          ...bar(apartLeft, apartLeft + apartWidth, { count: apart.count, name: apart.label, colour: apartColour }),
          `<path d="M${apartLeft} ${plotHeight}h${apartWidth}" stroke="#888"/>`,
          `<text x="${apartLeft + apartWidth / 2}" y="${plotHeight + 17}" text-anchor="middle">${escaped(apart.label)}</text>`,
        ]
      : []),
    `<path d="M0 ${plotHeight}H${plotWidth}" fill="none" stroke="#888"/>`,
    `<text x="${plotWidth}" y="${plotHeight + 36}" text-anchor="end" fill="#666">${escaped(x.label)}</text>`,
    `<text x="${16 - left}" y="-10" fill="#666">${escaped(y.label)}</text>`,
    ...marks.flatMap((mark, index) => drawMark(mark, { at: rounded(across.place(mark.at)), row: index, plotWidth })),
    '</g>',
  ])
}

/** A line from top to bottom, its label above it, on the side that has room; several stand one above the other. */
function drawMark(mark: { label: string }, { at, row, plotWidth }: { at: number; row: number; plotWidth: number }): string[] {
  const isRight = at > plotWidth / 2
  const text = `x="${isRight ? at - 5 : at + 5}" y="${-4 - 13 * row}" text-anchor="${isRight ? 'end' : 'start'}"`
  return [
    `<path d="M${at} ${-6 - 13 * row}V${plotHeight}" stroke="${markColour}" stroke-width="1.5" stroke-dasharray="4 3"/>`,
    `<text ${text} fill="${markColour}">${escaped(mark.label)}</text>`,
  ]
}

function rangeOf(edges: readonly number[], marks: readonly { readonly at: number }[]): [number, number] {
  const places = [...edges, ...marks.map(({ at }) => at)]
  if (places.length === 0) return [0, 1]
  const [low, high] = [Math.min(...places), Math.max(...places)]
  return high > low ? [low, high] : [low - 0.5, high + 0.5]
}

/** Of exponents of ten: whole ones, or where these are few, 1, 2 and 5 times each power. */
function exponentAxis([low, high]: [number, number], length: number): Axis {
  const axis = linearAxis([low, high], { length, leastStep: 1 })
  if (high - low > 2.5) return axis
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, at) => Math.floor(low) + at)
  const ticks = powers.flatMap((power) => [1, 2, 5].map((factor) => power + Math.log10(factor)))
  return { ...axis, ticks: ticks.filter((tick) => tick >= low - 1e-9 && tick <= high + 1e-9) }
}

function countAxis(counts: readonly number[]): Axis {
  const some = counts.filter((count) => count > 0)
  const most = Math.max(1, ...some)
  const least = Math.min(most, ...some)
  if (most / least <= 100) return linearAxis([0, most * 1.05], { length: plotHeight, leastStep: 1 })
  // half of the least, so that it has some height
  const [from, to] = [Math.log10(least / 2), Math.log10(most) + 0.1]
  const { ticks } = logAxis([least, most], plotHeight)
  return {
    ticks: ticks.filter((tick) => tick >= least && Math.log10(tick) <= to),
    place: (count) => Math.max(0, (Math.log10(count) - from) / (to - from)) * plotHeight,
  }
}

const superscripts = '⁰¹²³⁴⁵⁶⁷⁸⁹'

/** 10⁻³; small powers and what is between whole exponents as numbers. */
function powerOfTen(exponent: number): string {
  if (!Number.isInteger(exponent) || (exponent >= -1 && exponent <= 3)) return label(10 ** exponent)
  const digits = [...String(Math.abs(exponent))].map((digit) => superscripts[Number(digit)]!).join('')
  return `10${exponent < 0 ? '⁻' : ''}${digits}`
}

function inWords({ edges, counts }: Histogram, { x, y, marks = [], apart }: HistogramAbout, written: (value: number) => string): string {
  const total = counts.reduce((sum, count) => sum + count, 0)
  const most = counts.reduce((best, count, index) => (count > counts[best]! ? index : best), 0)
  const sentences = [`Histogram of ${x.label}: ${label(total)} ${y.label}`]
  if (total > 0) {
    sentences[0] += ` between ${written(edges[0]!)} and ${written(edges.at(-1)!)}`
    sentences.push(`Most, ${label(counts[most]!)}, are between ${written(edges[most]!)} and ${written(edges[most + 1]!)}`)
  }
  if (apart) sentences.push(`${apart.label}: ${label(apart.count)}`)
  for (const mark of marks) sentences.push(`${mark.label} is at ${written(mark.at)}`)
  return `${sentences.join('. ')}.`
}

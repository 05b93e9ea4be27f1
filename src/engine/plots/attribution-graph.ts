/** A graph of attributions as a drawing: tokens at the bottom, the target at the top, a row for each place in between, edges as wide as what goes along them. */

import { escaped, rounded, svgDocument } from './svg.js'

export interface DrawnNode {
  readonly kind: 'feature' | 'error' | 'head' | 'token'
  readonly hookPoint: string
  readonly position: number
  readonly attribution: number
  readonly index: number | null
  readonly head: number | null
}

export interface DrawnEdge {
  readonly from: number
  /** -1: the target. */
  readonly to: number
  readonly influence: number
}

export interface DrawnAttribution {
  readonly value: number
  readonly completeness: number | null
  /** From what the model computes first to what it computes last. */
  readonly nodes: readonly DrawnNode[]
  readonly edges: readonly DrawnEdge[]
}

const MARGIN = { left: 150, right: 24, top: 56, bottom: 44 }
const ROW = 78
const COLUMN = 58
const MIN_WIDTH = 640
/** Of what adds, and what takes away; distinct to colour-blind eyes. */
const colors = { plus: '#b2182b', minus: '#2166ac' } as const
const WIDEST = 7
const LARGEST = 13

interface Placed {
  readonly x: number
  readonly y: number
}

interface Drawn {
  readonly width: number
  readonly height: number
  readonly description: string
  readonly parts: readonly string[]
}

/** An SVG document, graphs of one target one below the other; equal graphs give equal documents. */
export function attributionDrawing(target: string, graphs: readonly DrawnAttribution[]): string {
  const drawn = graphs.map((graph) => drawnGraph(target, graph))
  let top = 0
  const stacked = drawn.map(({ height, parts }) => {
    const group = `<g transform="translate(0 ${top})">\n${parts.join('\n')}\n</g>`
    top += height
    return group
  })
  return svgDocument(
    {
      width: Math.max(...drawn.map(({ width }) => width)),
      height: top,
      title: `What ${target} depends on`,
      description: drawn.map(({ description }) => description).join(' '),
    },
    stacked,
  )
}

function drawnGraph(target: string, { value, completeness, nodes, edges }: DrawnAttribution): Drawn {
  const rows = [...new Set(nodes.map(({ hookPoint }) => hookPoint))]
  const widest = Math.max(1, ...rows.map((row) => nodes.filter(({ hookPoint }) => hookPoint === row).length))
  const inner = Math.max(MIN_WIDTH - MARGIN.left - MARGIN.right, widest * COLUMN)
  const width = MARGIN.left + inner + MARGIN.right
  const height = MARGIN.top + rows.length * ROW + MARGIN.bottom
  const top: Placed = { x: MARGIN.left + inner / 2, y: MARGIN.top }
  const places = placed(nodes, rows, { inner, height })
  const most = Math.max(...edges.map(({ influence }) => Math.abs(influence)), 0)
  const largest = Math.max(...nodes.map(({ attribution }) => Math.abs(attribution)), 0)
  const explained = completeness === null ? '' : `; kept nodes add ${percent(completeness)} of it directly`
  return {
    width,
    height,
    description: `${target} is ${short(value)}${explained}. ${nodes.length} nodes, ${edges.length} edges; red adds, blue takes away.`,
    parts: [
      ...rows.map((row, at) => `<text x="8" y="${rounded(rowY(at, height) + 4)}" fill="#777">${escaped(row)}</text>`),
      ...edges.toReversed().map((edge) => drawnEdge(edge, { places, top, most })),
      ...nodes.map((node, at) => drawnNode(node, places[at]!, largest)),
      `<rect x="${rounded(top.x - 7)}" y="${top.y - 7}" width="14" height="14" fill="#333"/>`,
      `<text x="${rounded(top.x)}" y="${top.y - 16}" text-anchor="middle" font-size="13">${escaped(`${clipped(target)}: ${short(value)}`)}</text>`,
      `<text x="${rounded(top.x)}" y="${top.y - 32}" text-anchor="middle" fill="#777">${escaped(explained.slice(2))}</text>`,
    ],
  }
}

const rowY = (row: number, height: number) => height - MARGIN.bottom - row * ROW

function placed(nodes: readonly DrawnNode[], rows: readonly string[], { inner, height }: { inner: number; height: number }): Placed[] {
  const counts = new Map<string, number>()
  const totals = new Map(rows.map((row) => [row, nodes.filter(({ hookPoint }) => hookPoint === row).length]))
  return nodes.map(({ hookPoint }) => {
    const at = counts.get(hookPoint) ?? 0
    counts.set(hookPoint, at + 1)
    return { x: MARGIN.left + (inner * (at + 0.5)) / totals.get(hookPoint)!, y: rowY(rows.indexOf(hookPoint), height) }
  })
}

function drawnEdge(
  { from, to, influence }: DrawnEdge,
  { places, top, most }: { places: readonly Placed[]; top: Placed; most: number },
): string {
  const [start, end] = [places[from]!, to < 0 ? top : places[to]!]
  const middle = (start.y + end.y) / 2
  const part = most === 0 ? 0 : Math.abs(influence) / most
  const path = `M${rounded(start.x)} ${rounded(start.y)}C${rounded(start.x)} ${rounded(middle)} ${rounded(end.x)} ${rounded(middle)} ${rounded(end.x)} ${rounded(end.y)}`
  const color = influence < 0 ? colors.minus : colors.plus
  const [thick, opacity] = [rounded(0.5 + part * (WIDEST - 0.5)), rounded(0.25 + 0.5 * part)]
  return `<path d="${path}" fill="none" stroke="${color}" stroke-width="${thick}" stroke-opacity="${opacity}"><title>${short(influence)}</title></path>`
}

function drawnNode(node: DrawnNode, { x, y }: Placed, largest: number): string {
  const size = rounded(3 + (LARGEST - 3) * Math.sqrt(largest === 0 ? 0 : Math.abs(node.attribution) / largest))
  const fill = node.attribution < 0 ? colors.minus : colors.plus
  const shape =
    node.kind === 'feature'
      ? `<circle cx="${rounded(x)}" cy="${y}" r="${size}" fill="${fill}" stroke="#fff"/>`
      : `<rect x="${rounded(x - size)}" y="${rounded(y - size)}" width="${rounded(2 * size)}" height="${rounded(2 * size)}" fill="${node.kind === 'error' ? '#fff' : fill}" stroke="${node.kind === 'error' ? fill : '#fff'}"/>`
  const title = `<title>${escaped(`${node.hookPoint} ${nameOf(node)}: ${short(node.attribution)}`)}</title>`
  return `<g>${title}${shape}<text x="${rounded(x)}" y="${rounded(y + LARGEST + 12)}" text-anchor="middle" font-size="9">${escaped(nameOf(node))}</text></g>`
}

function nameOf({ kind, index, head, position }: DrawnNode): string {
  switch (kind) {
    case 'feature':
      return `${index}@${position}`
    case 'head':
      return `h${head}@${position}`
    case 'error':
      return `error@${position}`
    case 'token':
      return `@${position}`
    default:
      return kind satisfies never
  }
}

const short = (value: number) => String(Number(value.toPrecision(3)))
const percent = (share: number) => `${Math.round(share * 100)} %`
const clipped = (text: string) => (text.length > 80 ? `${text.slice(0, 80)}...` : text)

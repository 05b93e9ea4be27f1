/** Dose-response curves as CSV (RFC 4180): a row for each direction, choice of positions, target and strength; means over the images. */

import type { SweptAnswer } from './sweep-answer.js'

const header = [
  ...['direction', 'hook_point', 'positions', 'target', 'strength', 'score', 'change', 'probability'],
  ...['control_low', 'control_median', 'control_high', 'controls_beaten'],
]

export function curvesCsv({ curves, strengths, directions, positions, targets }: SweptAnswer): string {
  const rows = curves.flatMap((curve) => {
    const { label, hookPoint } = directions[curve.direction]!
    return strengths.map((strength, at) => {
      const score = curve.scores[at] ?? null
      const change = score === null || curve.default === null ? null : score - curve.default
      const { low, median, high, beaten } = curve.controls ?? {}
      const numbers = [strength, score, change, curve.probabilities?.[at], low?.[at], median?.[at], high?.[at], beaten?.[at]]
      return [label, hookPoint, positions[curve.positions]!, targets[curve.target]!, ...numbers]
    })
  })
  return [header, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('')
}

function cell(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return ''
  const text = String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

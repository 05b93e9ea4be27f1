/** What an evaluation found, as files: all of it as JSON, a row a value as CSV, and plots of what is compared most. */

import type { MetricRecord } from '../../../catalog/metric-values.js'
import { type MetricValue, metricDefinition } from '../../../engine/evaluation/metric-definitions.js'
import { type IntervalRow, plotIntervals } from '../../../engine/plots/intervals.js'

/** What the values are of. */
export interface EvaluationAbout {
  readonly model: string
  readonly dataset: { readonly id: string; readonly hash: string }
  readonly nPictures: number
  readonly nBatches: number
  readonly batchSize: number
  readonly seed: number
  readonly dtype: string
  readonly backend: string
  readonly codeVersion: string
  readonly measuredAt: Date | null
}

/** A published value beside the measured one of the same definition. */
export interface Comparison {
  readonly metric: string
  readonly published: number
  readonly measured: number
  /** Measured - published, in the definition's unit. */
  readonly difference: number
  /** Whether the published value lies in the measured interval; null where there is none. Of another data set it need not. */
  readonly isInInterval: boolean | null
  /** On which it was published; null where nobody says. */
  readonly dataset: string | null
}

export interface EvaluatedSae {
  readonly id: string
  readonly metrics: readonly MetricValue[]
  readonly published: readonly Comparison[]
}

/** Values of the same version of a metric; what was published of it several times, several times. */
export function comparedWithPublished(metrics: readonly MetricValue[], published: readonly MetricRecord[]): Comparison[] {
  return metrics.flatMap(({ metric, version, value, low, high }) => {
    if (value === null) return []
    const others = published.filter((other) => other.metric === metric && other.version === version && other.value !== null)
    return others.map((other): Comparison => {
      const isInInterval = low === undefined || high === undefined ? null : low <= other.value! && other.value! <= high
      return {
        metric,
        published: other.value!,
        measured: value,
        difference: value - other.value!,
        isInInterval,
        dataset: other.dataset?.id ?? null,
      }
    })
  })
}

/** Each the same text for the same numbers. */
export function reportFiles(saes: readonly EvaluatedSae[], about: EvaluationAbout): Record<string, string> {
  return {
    'report.json': `${JSON.stringify({ ...about, saes }, null, 2)}\n`,
    'metrics.csv': csvOf(saes),
    ...Object.fromEntries(plots(saes, about)),
  }
}

const columns = [
  ...['sae', 'metric', 'version', 'unit', 'value', 'low', 'high', 'n', 'flags'],
  ...['published', 'published_dataset', 'difference'],
] as const

function csvOf(saes: readonly EvaluatedSae[]): string {
  const rows = saes.flatMap(({ id, metrics, published }) =>
    metrics.map(({ metric, version, value, low, high, n, flags }) => {
      const known = published.find((each) => each.metric === metric)
      return [
        ...[id, metric, version, metricDefinition(metric)?.unit, value, low, high, n, flags.join(' ')],
        ...[known?.published, known?.dataset, known?.difference],
      ]
    }),
  )
  return [columns, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('')
}

/** @see RFC 4180 */
function cell(value: string | number | null | undefined): string {
  const text = value === null || value === undefined ? '' : String(value)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** What is compared most; those that nobody measured are left out. */
const plotted = [
  ...['explained-variance', 'l0', 'alive-share', 'ce-recovered', 'kl-recovered'],
  ...['prisma/explained-variance', 'prisma/l0', 'prisma/ce-recovered'],
]

/** More rows are not read. */
const MAX_ROWS = 60

function* plots(saes: readonly EvaluatedSae[], { dataset, nPictures }: EvaluationAbout): Generator<[string, string]> {
  for (const metric of plotted) {
    const rows = saes.flatMap(({ id, metrics, published }): IntervalRow[] => {
      const found = metrics.find((each) => each.metric === metric)
      if (!found || found.value === null) return []
      const { value, low, high } = found
      const known = published.find((each) => each.metric === metric)
      return [
        {
          label: id,
          value,
          ...(low !== undefined && high !== undefined && { low, high }),
          ...(known && { reference: known.published }),
        },
      ]
    })
    if (rows.length === 0) continue
    const { name, unit } = metricDefinition(metric)!
    const title = `${name} on ${dataset.id}, ${nPictures} pictures`
    const left = rows.length > MAX_ROWS ? `; the first ${MAX_ROWS} of ${rows.length} SAEs` : ''
    yield [
      `${metric.replace('/', '-')}.svg`,
      plotIntervals(rows.slice(0, MAX_ROWS), { title: `${title}${left}`, x: unit, reference: 'published' }),
    ]
  }
}

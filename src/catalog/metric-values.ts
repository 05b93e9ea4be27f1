/**
 * Values of metrics: numbers with everything that says how they came about. What a metric is, the registry in `engine/evaluation` says.
 */

/** A value and how it was measured, or where it was published. */
export interface MetricValueRecord {
  /** Of a definition: `prisma/explained-variance`. */
  readonly metric: string
  /** Of the definition. */
  readonly version: number
  /** In the definition's unit. Null where it is not defined; `flags` says why. */
  readonly value: number | null
  /** Bounds of the confidence interval. */
  readonly low?: number
  readonly high?: number
  /** What is wrong with the value or unusual about it: `ill-conditioned`, ... */
  readonly flags: readonly string[]
  readonly source: 'published' | 'measured'
  /** Null where a table does not say. The hash is null of a data set that is only known by name. */
  readonly dataset: { readonly id: string; readonly hash: string | null } | null
  /** Number of pictures. */
  readonly n: number | null
  readonly seed: number | null
  readonly dtype: string | null
  readonly backend: string | null
  readonly codeVersion: string | null
  readonly measuredAt: Date | null
}

export interface MetricRecord extends MetricValueRecord {
  readonly saeId: string
}

export interface MetricCatalog {
  /** A value of the same metric under the same circumstances is replaced. All of them or none. */
  put(saeId: string, values: readonly MetricValueRecord[]): Promise<void>
  /** In order of metric, published before measured, newest first. */
  list(filter: { readonly saeId: string; readonly metric?: string }): Promise<readonly MetricRecord[]>
}

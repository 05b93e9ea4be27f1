/**
 * Sums of squared distances from the mean of all tokens, of clusters of which only mean and scatter are known; and the same without each batch.
 * @see Chan, Golub, LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances"
 */

import type { Cluster, Clusters } from './evaluation-shard.js'
import { type TokenKind, tokenKinds } from './feature-record.js'

export type ScatterName = 'all' | TokenKind

interface Pooled {
  readonly n: number
  readonly mean: Float64Array
  readonly scatter: number
}

export interface Scatters {
  readonly whole: Readonly<Partial<Record<ScatterName, number>>>
  /** In the order of the batches. */
  readonly without: readonly Readonly<Partial<Record<ScatterName, number>>>[]
}

/** @param batches  all with the same kinds */
export function scatters(batches: readonly Clusters[]): Scatters {
  const kinds = tokenKinds.filter((kind) => batches[0]?.[kind])
  const groups: [ScatterName, Pooled[]][] = kinds.map((kind) => [kind, batches.map((clusters) => pool([clusters[kind]!]))])
  groups.unshift(['all', batches.map((clusters) => pool(kinds.map((kind) => clusters[kind]!)))])
  const whole = groups.map(([name, members]) => [name, pool(members)] as const)
  return {
    whole: Object.fromEntries(whole.map(([name, { scatter }]) => [name, scatter])),
    without: batches.map((_, at) =>
      Object.fromEntries(groups.map(([name, members], group) => [name, scatterWithout(whole[group]![1], members[at]!)])),
    ),
  }
}

function pool(members: readonly (Cluster | Pooled)[]): Pooled {
  const n = members.reduce((sum, member) => sum + member.n, 0)
  const mean = new Float64Array(members[0]!.mean.length)
  for (const member of members) for (let d = 0; d < mean.length; d++) mean[d]! += (member.n / n) * member.mean[d]!
  return { n, mean, scatter: members.reduce((sum, member) => sum + member.scatter + member.n * squaredDistance(member.mean, mean), 0) }
}

function scatterWithout(whole: Pooled, part: Pooled): number {
  const n = whole.n - part.n
  if (n <= 0) return 0
  // |mean without the part - mean of the part| = |whole - part| n_whole / n
  const between = squaredDistance(whole.mean, part.mean) * (whole.n / n) ** 2
  return Math.max(0, whole.scatter - part.scatter - ((part.n * n) / whole.n) * between)
}

function squaredDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let d = 0; d < a.length; d++) sum += (a[d]! - b[d]!) ** 2
  return sum
}

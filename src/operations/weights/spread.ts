/** A list of numbers as a few: how they are spread. */

export interface SpreadAnswer {
  readonly min: number
  readonly lowerQuartile: number
  readonly median: number
  readonly upperQuartile: number
  readonly max: number
  readonly mean: number
}

/** Quantiles between two values are on the line between them. @param values  at least one */
export function spreadOfValues(values: Float32Array): SpreadAnswer {
  const sorted = Float32Array.from(values).sort()
  const quantile = (share: number) => {
    const place = share * (sorted.length - 1)
    const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!]
    return below + (place - Math.floor(place)) * (above - below)
  }
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length
  return { min: quantile(0), lowerQuartile: quantile(0.25), median: quantile(0.5), upperQuartile: quantile(0.75), max: quantile(1), mean }
}

export const shareAbove = (values: Float32Array, limit: number) => values.filter((value) => value > limit).length / values.length

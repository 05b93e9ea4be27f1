/** Timing: warm up, run for a while, keep every sample; quote medians. */

export interface Sample {
  readonly medianMs: number
  readonly minMs: number
  readonly p99Ms: number
  readonly n: number
}

export function summarise(times: readonly number[]): Sample {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (fraction: number) => sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))]!
  return { medianMs: at(0.5), minMs: sorted[0]!, p99Ms: at(0.99), n: sorted.length }
}

/**
 * Several candidates in turn, A B A B ..., so that a drift of the machine's speed falls on all alike.
 * @param seconds  for each candidate
 */
export async function interleave<Name extends string>(
  candidates: Readonly<Record<Name, () => Promise<unknown>>>,
  { seconds, warmUps = 2 }: { seconds: number; warmUps?: number },
): Promise<Record<Name, Sample>> {
  const names = Object.keys(candidates) as Name[]
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>
  for (const name of names) for (let i = 0; i < warmUps; i++) await candidates[name]()
  const end = performance.now() + seconds * 1000 * names.length
  while (performance.now() < end || times[names[0]!].length < 5) {
    for (const name of names) {
      const began = performance.now()
      await candidates[name]()
      times[name].push(performance.now() - began)
    }
  }
  return Object.fromEntries(names.map((name) => [name, summarise(times[name])])) as Record<Name, Sample>
}

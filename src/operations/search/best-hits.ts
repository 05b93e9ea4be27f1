/**
 * The best of many scored features, a page at a time.
 */

export interface Scored {
  readonly sae: string
  /** By feature; NaN of one that has no score. */
  readonly scores: Float32Array
}

export interface Hit {
  readonly sae: string
  readonly index: number
  readonly score: number
}

/** The largest scores first; equal ones by SAE and index, so that pages neither repeat nor leave out. */
export function before(a: Hit, b: Hit): boolean {
  if (a.score !== b.score) return a.score > b.score
  return a.sae === b.sae ? a.index < b.index : a.sae < b.sae
}

/** The first `limit` that come after a hit, and how many there are in all. */
export function bestHits(lists: readonly Scored[], { limit, after }: { limit: number; after?: Hit | undefined }) {
  const best: Hit[] = []
  let total = 0
  for (const { sae, scores } of lists) {
    for (let index = 0; index < scores.length; index++) {
      const score = scores[index]!
      if (Number.isNaN(score)) continue
      total++
      const last = best.length < limit ? undefined : best.at(-1)!
      if (last && score < last.score) continue
      const hit = { sae, index, score }
      if ((after && !before(after, hit)) || (last && !before(hit, last))) continue
      insert(best, hit)
      if (best.length > limit) best.pop()
    }
  }
  return { best, total }
}

function insert(best: Hit[], hit: Hit): void {
  let [low, high] = [0, best.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (before(best[middle]!, hit)) low = middle + 1
    else high = middle
  }
  best.splice(low, 0, hit)
}

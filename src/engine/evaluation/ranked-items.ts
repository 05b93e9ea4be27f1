/**
 * For every feature the few items with the smallest keys, in order; of equal keys the smaller item first. Which items are kept depends on the
 * items alone, and not on the order in which they came.
 */

export interface RankedItems {
  /** Items kept of each feature. */
  readonly k: number
  /** `[dSae, k]`, ascending; +Infinity where there is none. */
  readonly keys: Float32Array
  /** `[dSae, k]`; -1 where there is none. */
  readonly items: Int32Array
  /** `[dSae, k]`: of the token where the score was taken. */
  readonly positions: Int32Array
  /** `[dSae, k]`: of items that are not ranked by their scores. */
  readonly scores?: Float32Array
}

export function rankedItems(dSae: number, k: number, { hasScores = false } = {}): RankedItems {
  return {
    k,
    keys: new Float32Array(dSae * k).fill(Number.POSITIVE_INFINITY),
    items: new Int32Array(dSae * k).fill(-1),
    positions: new Int32Array(dSae * k),
    ...(hasScores && { scores: new Float32Array(dSae * k) }),
  }
}

/** Keeps the item if it is among the first k. An item is offered once. */
export function offer(list: RankedItems, feature: number, key: number, item: number, position: number, score = 0): void {
  const { k, keys, items, positions, scores } = list
  const from = feature * k
  let at = from + k - 1
  // Also false for a key that is no number.
  if (!(key < keys[at]! || (key === keys[at] && item < items[at]!))) return
  for (; at > from && (key < keys[at - 1]! || (key === keys[at - 1] && item < items[at - 1]!)); at--) {
    keys[at] = keys[at - 1]!
    items[at] = items[at - 1]!
    positions[at] = positions[at - 1]!
    if (scores) scores[at] = scores[at - 1]!
  }
  keys[at] = key
  items[at] = item
  positions[at] = position
  if (scores) scores[at] = score
}

export function mergeRanked(a: RankedItems, b: RankedItems): RankedItems {
  const merged = {
    ...a,
    keys: a.keys.slice(),
    items: a.items.slice(),
    positions: a.positions.slice(),
    ...(a.scores && { scores: a.scores.slice() }),
  }
  for (let at = 0; at < b.keys.length; at++) {
    if (b.items[at]! >= 0) offer(merged, Math.floor(at / a.k), b.keys[at]!, b.items[at]!, b.positions[at]!, b.scores?.[at])
  }
  return merged
}

export interface RankedItem {
  readonly key: number
  readonly item: number
  readonly position: number
  readonly score: number
}

/** Of one feature, in order. */
export function ranked({ k, keys, items, positions, scores }: RankedItems, feature: number): RankedItem[] {
  const found: RankedItem[] = []
  for (let at = feature * k; at < (feature + 1) * k && items[at]! >= 0; at++) {
    found.push({ key: keys[at]!, item: items[at]!, position: positions[at]!, score: scores?.[at] ?? 0 })
  }
  return found
}

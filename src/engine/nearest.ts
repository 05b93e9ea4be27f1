/**
 * The known names nearest to a misspelt one, for "Did you mean ...?".
 */

const MAX_SUGGESTIONS = 2

/** Up to two of `known` within a third of `given`'s length in edits, nearest first. */
export function nearest(given: string, known: readonly string[]): string[] {
  const limit = Math.max(2, Math.ceil(given.length / 3))
  return known
    .map((name) => ({ name, distance: editDistance(given.toLowerCase(), name.toLowerCase(), limit) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance || a.name.localeCompare(b.name))
    .slice(0, MAX_SUGGESTIONS)
    .map(({ name }) => name)
}

/** Levenshtein distance, or `limit + 1` once it is known to be larger. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      current[j] = Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1)
    }
    if (Math.min(...current) > limit) return limit + 1
    previous = current
  }
  return previous[b.length]!
}

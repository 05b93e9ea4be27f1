/**
 * Learns which pairs of symbols to merge, the most frequent first (Sennrich et al., 2016). Ties go to the pair whose symbols are older, so
 * the same words give the same merges on every machine.
 */

export interface Word {
  /** Ids of its symbols, in order. */
  readonly symbols: readonly number[]
  /** How often it occurs. */
  readonly count: number
}

export interface Merge {
  readonly left: number
  readonly right: number
}

/** Ids stay below: a pair is one exact number. */
const MAX_SYMBOLS = 2 ** 26

export class BytePairs {
  readonly #words: { symbols: number[]; readonly count: number }[]
  readonly #counts = new Map<number, number>()
  /** Pair to the words that it is, or was, in. */
  readonly #occurrences = new Map<number, Set<number>>()
  readonly #queue = new PairQueue()

  constructor(words: Iterable<Word>) {
    this.#words = Array.from(words, ({ symbols, count }) => ({ symbols: [...symbols], count }))
    for (const index of this.#words.keys()) this.#count(index, 1)
    for (const [pair, count] of this.#counts) this.#queue.push({ pair, count })
  }

  /** The most frequent pair, and how often it occurs. Undefined when no word has two symbols any more. */
  mostFrequent(): (Merge & { readonly count: number }) | undefined {
    for (let top = this.#queue.pop(); top !== undefined; top = this.#queue.pop()) {
      // counts have changed since: a pair is in the queue once for each count it had
      if (this.#counts.get(top.pair) !== top.count) continue
      return { left: Math.floor(top.pair / MAX_SYMBOLS), right: top.pair % MAX_SYMBOLS, count: top.count }
    }
    return undefined
  }

  /** Replaces the pair by `merged` in every word. */
  merge({ left, right }: Merge, merged: number): void {
    const changed = new Set<number>()
    for (const index of this.#occurrences.get(pairOf(left, right)) ?? []) {
      const word = this.#words[index]!
      for (const pair of this.#count(index, -1)) changed.add(pair)
      word.symbols = mergedSymbols(word.symbols, { left, right }, merged)
      for (const pair of this.#count(index, 1)) changed.add(pair)
    }
    this.#occurrences.delete(pairOf(left, right))
    for (const pair of changed) {
      const count = this.#counts.get(pair)!
      if (count > 0) this.#queue.push({ pair, count })
      else this.#counts.delete(pair)
    }
  }

  /** Adds a word's pairs to the counts, or takes them out. Returns them. */
  #count(index: number, sign: 1 | -1): number[] {
    const { symbols, count } = this.#words[index]!
    const pairs: number[] = []
    for (let at = 0; at + 1 < symbols.length; at++) {
      const pair = pairOf(symbols[at]!, symbols[at + 1]!)
      pairs.push(pair)
      this.#counts.set(pair, (this.#counts.get(pair) ?? 0) + sign * count)
      const words = this.#occurrences.get(pair)
      if (words) words.add(index)
      else this.#occurrences.set(pair, new Set([index]))
    }
    return pairs
  }
}

const pairOf = (left: number, right: number) => left * MAX_SYMBOLS + right

/** From the left, without overlaps: of "aaa" the first two. */
function mergedSymbols(symbols: readonly number[], { left, right }: Merge, merged: number): number[] {
  const result: number[] = []
  for (let at = 0; at < symbols.length; at++) {
    const isPair = symbols[at] === left && symbols[at + 1] === right
    result.push(isPair ? merged : symbols[at]!)
    if (isPair) at++
  }
  return result
}

interface Queued {
  readonly pair: number
  readonly count: number
}

/** A binary heap: the largest count first, of equal counts the smallest pair. */
class PairQueue {
  readonly #heap: Queued[] = []

  push(entry: Queued): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(entry, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = entry
  }

  pop(): Queued | undefined {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (heap.length === 0 || last === undefined) return top
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return top
  }
}

function isBefore(a: Queued, b: Queued): boolean {
  return a.count > b.count || (a.count === b.count && a.pair < b.pair)
}

/** Lists by pages: what is asked for, and what is answered. */

export interface Page<T> {
  readonly items: readonly T[]
  /** Opaque; null on the last page. */
  readonly nextCursor: string | null
  /** The cursor of each item: what `nextCursor` would be were it the last of its page. */
  readonly cursors: readonly string[]
  readonly totalCount: number
}

export interface PageRequest {
  readonly limit: number
  readonly cursor?: string
}

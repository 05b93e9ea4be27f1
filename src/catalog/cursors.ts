/**
 * Cursors of lists: the key of the last item of a page, so that a page is stable while rows come and go. Opaque to clients.
 */

import { EngineError } from '../engine/errors.js'

export type CursorKey = readonly string[]

/** `list` names the list, so that a cursor of one is refused by another. */
export function encodeCursor(list: string, key: CursorKey): string {
  return Buffer.from(JSON.stringify([list, ...key])).toString('base64url')
}

/** @throws CURSOR_INVALID */
export function decodeCursor(list: string, cursor: string, length: number): CursorKey {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    if (Array.isArray(parts) && parts.length === length + 1 && parts[0] === list && parts.every(isStorable))
      return parts.slice(1) as string[]
  } catch {
    // refused below
  }
  throw new EngineError('CURSOR_INVALID', { cursor })
}

/** Where an item is in a list whose newest come first. */
export interface TimeKey {
  readonly createdAt: Date
  readonly id: string
}

export const timeKey = ({ createdAt, id }: TimeKey): CursorKey => [createdAt.toISOString(), id]

/** @throws CURSOR_INVALID */
export function decodeTimeCursor(list: string, cursor: string): TimeKey {
  const [time = '', id = ''] = decodeCursor(list, cursor, 2)
  const createdAt = new Date(time)
  if (Number.isNaN(createdAt.getTime())) throw new EngineError('CURSOR_INVALID', { cursor })
  return { createdAt, id }
}

/** Prisma's filter of what comes after it. */
export const olderThan = ({ createdAt, id }: TimeKey) => ({ OR: [{ createdAt: { lt: createdAt } }, { createdAt, id: { lt: id } }] })

/** PostgreSQL stores no NUL and nothing that is not Unicode. */
function isStorable(part: unknown): boolean {
  return typeof part === 'string' && !part.includes('\0') && Buffer.from(part).toString() === part
}

/** One page from `limit + 1` rows read: the row beyond the limit only says that there is more. */
export function pageOf<Row, Item>(
  rows: readonly Row[],
  { limit, totalCount, list, key, item }: PageParts<Row, Item>,
): { items: Item[]; nextCursor: string | null; cursors: string[]; totalCount: number } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  return {
    items: shown.map(item),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(list, key(last)) : null,
    cursors: shown.map((row) => encodeCursor(list, key(row))),
    totalCount,
  }
}

interface PageParts<Row, Item> {
  readonly limit: number
  readonly totalCount: number
  readonly list: string
  readonly key: (row: Row) => CursorKey
  readonly item: (row: Row) => Item
}

/**
 * Which statements PostgreSQL is to keep prepared: those that come again and again. Planning one of Prisma's takes it as long as running it.
 */

import { LRUCache } from 'lru-cache'

/** Seen so often, a statement is named. */
const OFTEN = 5
/** Every connection keeps the plans of all named ones, and lists of values make a statement of each length. */
const MAX_NAMED = 100
const MAX_COUNTED = 1000

/** What PostgreSQL calls a statement that it plans each time. */
const UNNAMED = ''

/** A name for a statement's text, the same from when it has one. */
export function statementNames(): (sql: string) => string {
  const names = new Map<string, string>()
  const counts = new LRUCache<string, number>({ max: MAX_COUNTED })
  return (sql) => {
    const known = names.get(sql)
    if (known !== undefined) return known
    if (names.size === MAX_NAMED) return UNNAMED
    const count = (counts.get(sql) ?? 0) + 1
    counts.set(sql, count)
    if (count < OFTEN) return UNNAMED
    const name = `refract-${names.size}`
    names.set(sql, name)
    return name
  }
}

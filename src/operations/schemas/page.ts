/**
 * Lists: pages by cursor.
 */

import { type TSchema, Type } from 'typebox'
import { fixedLimits } from '../limits.js'

export const DEFAULT_PAGE_SIZE = 20

export const Limit = Type.Integer({
  minimum: 1,
  maximum: fixedLimits.pageSize,
  description: `Items on a page; ${DEFAULT_PAGE_SIZE} unless given.`,
})

export const Cursor = Type.String({
  minLength: 1,
  maxLength: 500,
  pattern: '^[\\x21-\\x7e]+$',
  description: '`nextCursor` of the previous page.',
})

export const Order = Type.Enum(['asc', 'desc'], { title: 'Order', description: '`asc` unless given.' })

/** No NUL: a database cannot hold it. */
export const SearchText = Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' })

export function pageOf<Item extends TSchema>(title: string, item: Item) {
  return Type.Object(
    {
      items: Type.Array(item),
      nextCursor: Type.Union([Type.String(), Type.Null()], { description: 'Null on the last page.' }),
      cursors: Type.Array(Type.String(), { description: 'The cursor of each item: a page can start after any of them.' }),
      totalCount: Type.Integer(),
    },
    { title, additionalProperties: false },
  )
}

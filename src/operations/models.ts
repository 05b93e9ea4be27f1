/**
 * The models of the catalog.
 */

import { Type } from 'typebox'
import { describeModel } from './model.js'
import { defineOperation } from './operation.js'
import { ModelShape } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf, SearchText } from './schemas/page.js'

export const models = defineOperation({
  name: 'models',
  kind: 'query',
  scope: 'read',
  summary: 'The models, by id',
  input: Type.Object(
    {
      text: Type.Optional(Type.Unsafe<string>({ ...SearchText, description: 'Models whose id or name contains this.' })),
      layout: Type.Optional(Type.Unsafe<string>({ ...SearchText, description: 'Models of this checkpoint layout.' })),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'ModelsInput', additionalProperties: false },
  ),
  output: pageOf('ModelPage', ModelShape),
  example: { limit: 10 },

  async run({ catalog, host }, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items, nextCursor, cursors, totalCount } = await catalog.models.list({ limit, ...request })
    return { items: items.map((record) => describeModel(record, host)), nextCursor, cursors: [...cursors], totalCount }
  },
})

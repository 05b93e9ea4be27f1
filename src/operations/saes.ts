/**
 * The SAEs of the catalog.
 */

import { Type } from 'typebox'
import { saeSorts } from '../catalog/saes.js'
import { defineOperation } from './operation.js'
import { describeSae } from './sae.js'
import { ModelId } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, Order, pageOf, SearchText } from './schemas/page.js'
import { SaeArchitecture, SaeShape, SaeStatus } from './schemas/sae.js'

const searched = (description: string) => Type.Optional(Type.Unsafe<string>({ ...SearchText, description }))

export const saes = defineOperation({
  name: 'saes',
  kind: 'query',
  scope: 'read',
  summary: 'The SAEs, published and downloaded: filtered, searched, sorted',
  input: Type.Object(
    {
      model: Type.Optional(Type.Unsafe<string>({ ...ModelId, description: 'Of this model.' })),
      layer: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })),
      hookPoint: searched('That read or write this hook point; `*` stands for anything within one dot-separated part.'),
      architecture: Type.Optional(SaeArchitecture),
      transcoder: Type.Optional(Type.Boolean({ description: 'Only transcoders, or none.' })),
      trainedOn: searched('What it was trained on: `all`, `cls` or `patches`, or a part of the name of a data set.'),
      suite: searched('Of this suite.'),
      release: searched('Of this release.'),
      status: Type.Optional(SaeStatus),
      minExplainedVariance: Type.Optional(
        Type.Number({ minimum: 1, maximum: 100, description: 'In percent, as it is published: 90, not 0.9.' }),
      ),
      maxL0: Type.Optional(Type.Number({ minimum: 0, description: 'Active features a token, at the positions it was trained on.' })),
      text: searched('Words, or their beginnings, which all occur in the id, suite, hook points, repository or note.'),
      sort: Type.Optional(
        Type.Enum([...saeSorts], { title: 'SaeSort', description: '`id` unless given. What is not known comes last in either order.' }),
      ),
      order: Type.Optional(Order),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'SaesInput', additionalProperties: false },
  ),
  output: pageOf('SaePage', SaeShape),
  example: { model: 'clip-vit-b-32-datacomp-xl', layer: 9, sort: 'explainedVariance', order: 'desc', limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, transcoder, ...request }) {
    const filter = { ...request, limit, ...(transcoder !== undefined && { isTranscoder: transcoder }) }
    const { items, nextCursor, cursors, totalCount } = await catalog.saes.list(filter)
    return { items: items.map(describeSae), nextCursor, cursors: [...cursors], totalCount }
  },
})

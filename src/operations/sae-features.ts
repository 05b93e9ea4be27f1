/**
 * The features of an SAE, sorted and filtered by any statistic.
 */

import { Type } from 'typebox'
import { featureStatistics } from '../engine/evaluation/feature-record.js'
import { picturesOf, summarizeFeature } from './feature-facts/describe-feature.js'
import { DatasetField, findFeatureSet } from './feature-facts/find-feature.js'
import { defineOperation } from './operation.js'
import { boundName, DEFAULT_EXAMPLES, ExampleCount, FeatureSummaryShape, statisticBounds } from './schemas/feature.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, Order, pageOf, SearchText } from './schemas/page.js'
import { SaeId } from './schemas/sae.js'

export const saeFeatures = defineOperation({
  name: 'saeFeatures',
  kind: 'query',
  scope: 'read',
  summary: 'The features of an SAE: sorted and filtered by any statistic, with their top pictures',
  input: Type.Object(
    {
      sae: SaeId,
      dataset: DatasetField,
      text: Type.Optional(Type.Unsafe<string>({ ...SearchText, description: 'Features of which an explanation has these words.' })),
      sort: Type.Optional(
        Type.Enum(['index', ...featureStatistics], {
          title: 'FeatureSort',
          description: '`index` unless given. Features of which a statistic is not defined come last in either order.',
        }),
      ),
      order: Type.Optional(Order),
      ...statisticBounds,
      examples: Type.Optional(ExampleCount),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'SaeFeaturesInput', additionalProperties: false },
  ),
  output: pageOf('FeaturePage', FeatureSummaryShape),
  example: { sae: 'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all', sort: 'max', order: 'desc', minDensity: 0.001, limit: 10 },

  async run({ catalog }, { sae, dataset, text, sort = 'index', order = 'asc', examples: nExamples = DEFAULT_EXAMPLES, ...rest }) {
    const { limit = DEFAULT_PAGE_SIZE, cursor, ...bounds } = rest
    const set = await findFeatureSet(catalog, { sae, ...(dataset !== undefined && { dataset }) })
    const { items, nextCursor, cursors, totalCount } = await catalog.features.list(set, {
      ...{ limit, sort, order, nExamples, ranges: rangesOf(bounds) },
      ...(cursor !== undefined && { cursor }),
      ...(text !== undefined && { text }),
    })
    const shown = items.flatMap(({ examples }) => examples)
    const pictures = await picturesOf(catalog, set, shown)
    return {
      items: items.map((feature) => summarizeFeature(feature, { set, pictures })),
      nextCursor,
      cursors: [...cursors],
      totalCount,
    }
  },
})

function rangesOf(bounds: Readonly<Record<string, number>>) {
  const ranges = featureStatistics.map((name) => {
    const min = bounds[boundName('min', name)]
    const max = bounds[boundName('max', name)]
    return [name, { ...(min !== undefined && { min }), ...(max !== undefined && { max }) }] as const
  })
  return Object.fromEntries(ranges.filter(([, range]) => Object.keys(range).length > 0))
}

/**
 * From words and pictures to features: by a text through CLIP, by an image or a patch of it, by what is said of features.
 */

import { createHash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import { decodeCursor, encodeCursor } from '../catalog/cursors.js'
import type { FeatureSetRecord } from '../catalog/feature-sets.js'
import { EngineError } from '../engine/errors.js'
import { Problems } from './errors.js'
import { type Call, type Context, defineOperation } from './operation.js'
import { DEFAULT_EXAMPLES, ExampleCount } from './schemas/feature.js'
import { ImageId } from './schemas/image.js'
import { ModelId } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf, SearchText } from './schemas/page.js'
import { SaeId } from './schemas/sae.js'
import { FoundFeatureShape, type SearchSort, searchSorts } from './schemas/search.js'
import { bestHits, type Hit, type Scored } from './search/best-hits.js'
import { describeHits, storedFeatures } from './search/describe-hits.js'
import { type ImageScores, imageScores } from './search/image-scores.js'
import { noPictureScore, type PictureScore, pictureScores, pictureScoresOf } from './search/picture-scores.js'
import { largestSet, type Searched, type SearchedSae, searchedSaes } from './search/searched-saes.js'
import { decoderScores, embedText } from './search/text-scores.js'

const SearchFeaturesInput = Type.Object(
  {
    text: Type.Optional(
      Type.Unsafe<string>({ ...SearchText, description: 'What features stand for, through the text tower of the model.' }),
    ),
    image: Type.Optional(Type.Unsafe<string>({ ...ImageId, description: 'Features that are active in this image.' })),
    patch: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 10_000 }), {
        minItems: 2,
        maxItems: 2,
        description: 'With `image`: only in this patch, `row,column`.',
      }),
    ),
    explanation: Type.Optional(
      Type.Unsafe<string>({ ...SearchText, description: 'Words of an explanation, in any form; a feature comes once for each that fits.' }),
    ),
    sae: Type.Optional(SaeId),
    model: Type.Optional(
      Type.Unsafe<string>({ ...ModelId, description: 'Needed where there are SAEs of several models, and none is named.' }),
    ),
    layer: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })),
    active: Type.Optional(Type.Boolean({ description: 'True: only features that an index has seen active.' })),
    sort: Type.Optional(
      Type.Enum([...searchSorts], {
        title: 'SearchSort',
        description:
          'By which of the scores, largest first: of a text `decoder` (unless given) or `pictures`, of an image `activation` (unless given) or `relative`.',
      }),
    ),
    examples: Type.Optional(ExampleCount),
    limit: Type.Optional(Limit),
    cursor: Type.Optional(Cursor),
  },
  { title: 'SearchFeaturesInput', additionalProperties: false },
)

type SearchInput = Static<typeof SearchFeaturesInput>

export const searchFeatures = defineOperation({
  name: 'searchFeatures',
  kind: 'query',
  scope: 'run',
  summary: 'Features by a text, by an image or a patch of it, or by what is said of them',
  input: SearchFeaturesInput,
  output: pageOf('FoundFeaturePage', FoundFeatureShape),
  example: { text: 'a red apple', model: 'emoji-clip', limit: 10 },

  async run(context, input, call) {
    const sort = checkSearch(input)
    if (input.explanation !== undefined) return byExplanation(context, input)
    const searched = await searchedSaes(context.catalog, input)
    if (!searched) return { items: [], nextCursor: null, cursors: [], totalCount: 0 }
    const search = { input, searched, sort: sort! }
    return input.text !== undefined ? byText(context, search, call) : byImage(context, search, call)
  },
})

interface Search {
  readonly input: SearchInput
  readonly searched: Searched
  readonly sort: SearchSort
}

/** @throws INPUT_INVALID, all problems at once */
function checkSearch({ text, image, patch, explanation, sort, active }: SearchInput): SearchSort | undefined {
  const problems = new Problems()
  const refuse = (path: string, problem: string) => problems.add(path, new EngineError('INPUT_INVALID', { path, problem }))
  const given = Object.entries({ text, image, explanation }).flatMap(([name, value]) => (value === undefined ? [] : [name]))
  if (given.length === 0) refuse('text', 'is missing: search by "text", by "image" or by "explanation"')
  for (const name of given.slice(1)) refuse(name, `is there, and "${given[0]}" too; search by one of them`)
  if (patch !== undefined && image === undefined) refuse('patch', 'goes with "image"')
  if (active !== undefined && explanation !== undefined) refuse('active', 'goes with "text" or "image"')
  const sorts: readonly SearchSort[] = text !== undefined ? ['decoder', 'pictures'] : image !== undefined ? ['activation', 'relative'] : []
  if (sort !== undefined && !sorts.includes(sort)) {
    refuse('sort', sorts.length > 0 ? `"${sort}" is not one of ${sorts.join(', ')}` : 'goes with "text" or "image"')
  }
  problems.throwIfAny()
  return sort ?? sorts[0]
}

async function byText(context: Context, { input, searched, sort }: Search, call: Call) {
  const { model, saes } = searched
  const embedding = await embedText(context, { model, text: input.text! }, call)
  const asked = { model, text: embedding.data }

  const decoder = new Map<string, Float32Array>()
  for (const each of saes) {
    const scores = await decoderScores(context, { model, embedding }, each, call)
    if (scores) decoder.set(each.sae.id, scores)
  }
  if (sort === 'decoder' && decoder.size === 0) {
    const problem = 'by "decoder" needs SAEs that write to the residual stream of a model that pools it; sort by "pictures"'
    throw new EngineError('INPUT_INVALID', { path: 'sort', problem })
  }
  const page = await pageOfHits(context, { input, searched, sort }, async ({ sae, set }) => {
    if (sort === 'decoder') return decoder.get(sae.id)
    return set && pictureScores(context, set, asked, call)
  })
  const pictures = new Map<string, ReadonlyMap<number, PictureScore>>()
  for (const [sae, features] of page.stored) {
    const set = setOf(searched)(sae)
    if (set) pictures.set(sae, await pictureScoresOf(context, set, { ...asked, features: [...features.values()] }, call))
  }
  const scores = page.hits.map(({ sae, index }) => ({
    ...noScores,
    ...(pictures.get(sae)?.get(index) ?? noPictureScore),
    decoder: decoder.get(sae)?.[index] ?? null,
  }))
  return { ...page.answer, items: page.items.map((item, at) => ({ ...item, scores: scores[at]!, position: null, patch: null })) }
}

async function byImage(context: Context, { input, searched, sort }: Search, call: Call) {
  const asked = { ...searched, image: input.image!, patch: input.patch }
  const found = await imageScores(context, asked, call)
  const bySae = new Map<string, ImageScores>(searched.saes.map(({ sae }, at) => [sae.id, found[at]!]))
  const most = new Map<string, Float32Array>()
  for (const { sae, set } of searched.saes) if (set) most.set(sae.id, await context.catalog.features.statistic(set, 'max'))
  const relative = (sae: string, index: number) => {
    const share = bySae.get(sae)!.activations[index]! / (most.get(sae)?.[index] ?? Number.NaN)
    return Number.isFinite(share) ? share : Number.NaN
  }
  const page = await pageOfHits(context, { input, searched, sort }, async ({ sae }) => {
    const { activations } = bySae.get(sae.id)!
    return sort === 'activation' ? activations : activations.map((_, index) => relative(sae.id, index))
  })
  return {
    ...page.answer,
    items: page.items.map((item) => {
      const { activations, where } = bySae.get(item.sae)!
      const share = relative(item.sae, item.index)
      const scores = { ...noScores, activation: activations[item.index]!, relative: Number.isNaN(share) ? null : share }
      const { position = null, patch = null } = where.get(item.index) ?? {}
      return { ...item, scores, position, patch }
    }),
  }
}

async function byExplanation(
  context: Context,
  { explanation, sae, model, layer, limit = DEFAULT_PAGE_SIZE, cursor, examples = DEFAULT_EXAMPLES }: SearchInput,
) {
  const { catalog } = context
  const { items, nextCursor, cursors, totalCount } = await catalog.explanations.page({
    ...{ text: explanation!, limit },
    ...(sae !== undefined && { saeId: sae }),
    ...(model !== undefined && { modelId: model }),
    ...(layer !== undefined && { layer }),
    ...(cursor !== undefined && { cursor }),
  })
  const sets = new Map<string, FeatureSetRecord | undefined>()
  for (const { saeId } of items) if (!sets.has(saeId)) sets.set(saeId, await largestSet(catalog, saeId))
  const keys = items.map(({ saeId, index }) => ({ sae: saeId, index }))
  const about = { setOf: (id: string) => sets.get(id), nExamples: examples }
  const stored = await storedFeatures(context, keys, about)
  const shown = await describeHits(context, keys, { ...about, stored })
  return {
    ...{ nextCursor, cursors: [...cursors], totalCount },
    items: shown.map((item) => ({ ...item, scores: noScores, position: null, patch: null })),
  }
}

const noScores = { decoder: null, ...noPictureScore, activation: null, relative: null }

const setOf =
  ({ saes }: Searched) =>
  (id: string) =>
    saes.find(({ sae }) => sae.id === id)?.set

async function pageOfHits(
  context: Context,
  { input, searched, sort }: Search,
  scoresOf: (each: SearchedSae) => Promise<Float32Array | undefined>,
) {
  const { limit = DEFAULT_PAGE_SIZE, cursor, examples = DEFAULT_EXAMPLES, active, ...query } = input
  const list = `search ${createHash('sha256')
    .update(JSON.stringify([query, active, sort]))
    .digest('hex')
    .slice(0, 16)}`
  const after = cursor === undefined ? undefined : hitOf(list, cursor)
  const lists: Scored[] = []
  for (const each of searched.saes) {
    const scores = await scoresOf(each)
    if (scores) lists.push({ sae: each.sae.id, scores: active === true ? await onlyActive(context, each, scores) : scores })
  }
  const { best, total } = bestHits(lists, { limit: limit + 1, after })
  const hits = best.slice(0, limit)
  const keyOf = ({ score, sae, index }: Hit) => encodeCursor(list, [String(score), sae, String(index)])
  const about = { setOf: setOf(searched), nExamples: examples }
  const stored = await storedFeatures(context, hits, about)
  return {
    ...{ hits, stored },
    items: await describeHits(context, hits, { ...about, stored }),
    answer: { nextCursor: best.length > limit ? keyOf(hits.at(-1)!) : null, cursors: hits.map(keyOf), totalCount: total },
  }
}

/** Features of an SAE that is not indexed were not seen. */
async function onlyActive({ catalog }: Context, { set }: SearchedSae, scores: Float32Array): Promise<Float32Array> {
  const density = set && (await catalog.features.statistic(set, 'density'))
  return scores.map((score, index) => ((density?.[index] ?? 0) > 0 ? score : Number.NaN))
}

/** @throws CURSOR_INVALID */
function hitOf(list: string, cursor: string): Hit {
  const [score, sae, index] = decodeCursor(list, cursor, 3) as [string, string, string]
  const hit = { score: Number(score), sae, index: Number(index) }
  if (Number.isFinite(hit.score) && Number.isInteger(hit.index)) return hit
  throw new EngineError('CURSOR_INVALID', { cursor })
}

/**
 * What people and methods say that features stand for: written, listed, searched, taken away.
 */

import { createHash } from 'node:crypto'
import { Type } from 'typebox'
import type { Explanation } from '../catalog/explanations.js'
import { RequestError } from './errors.js'
import { describeExplanation } from './feature-facts/describe-feature.js'
import { featureFields, findSae } from './feature-facts/find-feature.js'
import { type Context, defineOperation } from './operation.js'
import { ExplanationId, explanationFields, FeatureExplanationShape } from './schemas/explanation.js'
import { ModelId } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf, SearchText } from './schemas/page.js'
import { SaeId } from './schemas/sae.js'

const { text, author, method, score } = explanationFields

export const createExplanation = defineOperation({
  name: 'createExplanation',
  kind: 'mutation',
  scope: 'write',
  summary: 'Say what a feature stands for',
  input: Type.Object(
    {
      ...featureFields,
      text,
      author,
      method: Type.Optional(Type.Unsafe<string>({ ...method, description: '`human` unless given; else how it was made.' })),
      score: Type.Optional(score),
    },
    { title: 'CreateExplanationInput', additionalProperties: false },
  ),
  output: FeatureExplanationShape,
  example: { sae: 'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all', index: 1234, text: 'red apples', author: 'ada' },

  async run({ catalog }, { sae, index, method = 'human', score = null, ...said }, { caller, idempotencyKey }) {
    await requireFeature(catalog, { sae, index })
    const explanation = { saeId: sae, index, method, score, ...said }
    if (idempotencyKey === undefined) return describe(await catalog.explanations.add(explanation))
    const id = createHash('sha256')
      .update(`${caller?.keyId ?? ''} ${idempotencyKey}`)
      .digest('hex')
      .slice(0, 32)
    const { id: _, createdAt, ...kept } = await catalog.explanations.add({ ...explanation, id })
    const isSame = Object.entries(explanation).every(([name, value]) => kept[name as keyof typeof kept] === value)
    if (!isSame) throw new RequestError('IDEMPOTENCY_KEY_INVALID', { problem: 'it was used before with other content' })
    return describe({ ...kept, id, createdAt })
  },
})

export const explanations = defineOperation({
  name: 'explanations',
  kind: 'query',
  scope: 'read',
  summary: 'What is said of features: by words, those that fit best first, else newest first',
  input: Type.Object(
    {
      text: Type.Optional(
        Type.Unsafe<string>({
          ...SearchText,
          description: 'Words that all occur, in any form ("dogs" finds "dog"); `-word` excludes one, `"two words"` are a phrase.',
        }),
      ),
      model: Type.Optional(ModelId),
      layer: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000 })),
      sae: Type.Optional(SaeId),
      index: Type.Optional(Type.Unsafe<number>({ ...featureFields.index, description: 'Of a feature of `sae`.' })),
      author: Type.Optional(author),
      method: Type.Optional(method),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'ExplanationsInput', additionalProperties: false },
  ),
  output: pageOf('ExplanationPage', FeatureExplanationShape),
  example: { text: 'apples', limit: 10 },

  async run({ catalog }, { limit = DEFAULT_PAGE_SIZE, sae, model, ...request }) {
    if (sae !== undefined) await findSae(catalog, sae)
    const filter = { ...request, limit, ...(sae !== undefined && { saeId: sae }), ...(model !== undefined && { modelId: model }) }
    const { items, nextCursor, cursors, totalCount } = await catalog.explanations.page(filter)
    return { items: items.map(describe), nextCursor, cursors: [...cursors], totalCount }
  },
})

const ById = (title: string) => Type.Object({ id: ExplanationId }, { title, additionalProperties: false })

export const explanation = defineOperation({
  name: 'explanation',
  kind: 'query',
  scope: 'read',
  summary: 'One of them',
  input: ById('ExplanationInput'),
  output: FeatureExplanationShape,
  run: async ({ catalog }, { id }) => describe(await find(catalog, id)),
})

export const deleteExplanation = defineOperation({
  name: 'deleteExplanation',
  kind: 'mutation',
  scope: 'write',
  summary: 'Take an explanation away; the answer is what it was',
  input: ById('DeleteExplanationInput'),
  output: FeatureExplanationShape,

  async run({ catalog }, { id }) {
    const was = await find(catalog, id)
    await catalog.explanations.remove(id)
    return describe(was)
  },
})

type Catalog = Context['catalog']

/** @throws EXPLANATION_UNKNOWN */
async function find(catalog: Catalog, id: string): Promise<Explanation> {
  const found = await catalog.explanations.get(id)
  if (!found) throw new RequestError('EXPLANATION_UNKNOWN', { explanation: id })
  return found
}

/** @throws SAE_UNKNOWN, FEATURE_UNKNOWN */
async function requireFeature(catalog: Catalog, { sae: id, index }: { sae: string; index: number }): Promise<void> {
  const { width } = await findSae(catalog, id)
  if (width !== null && index >= width) throw new RequestError('FEATURE_UNKNOWN', { sae: id, index, width })
}

function describe(said: Explanation) {
  const { saeId: sae, index } = said
  return { ...describeExplanation(said), feature: `${sae}/${index}`, sae, index }
}

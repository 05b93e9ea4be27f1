/**
 * From a tower's output to class scores: a classifier's own classes, or labels that CLIP's text tower embeds.
 */

import { type Static, Type } from 'typebox'
import type { ModelRecord } from '../catalog/catalog.js'
import { modelSource } from '../catalog/catalog.js'
import { probabilitiesOf } from '../engine/distributions.js'
import { EngineError } from '../engine/errors.js'
import { labelEmbeddings, promptsOf, zeroShotScores } from '../engine/models/zero-shot.js'
import type { Tensor } from '../engine/tensor.js'
import { classKey } from './class-embeddings.js'
import { RequestError } from './errors.js'
import { fixedLimits } from './limits.js'
import type { Call, Context } from './operation.js'

const Template = Type.String({ minLength: 2, maxLength: 500, pattern: '\\{\\}', description: 'A text with `{}` where the label goes.' })

export const ClassifyTemplates = Type.Optional(
  Type.Array(Template, {
    minItems: 1,
    maxItems: fixedLimits.templates,
    'x-limit': 'templates',
    description: 'Several templates: the embeddings of a label are averaged.',
  }),
)

export const ClassifyShape = Type.Object(
  {
    labels: Type.Array(Type.String({ minLength: 1, maxLength: 500 }), {
      minItems: 1,
      maxItems: fixedLimits.labels,
      uniqueItems: true,
      'x-limit': 'labels',
    }),
    template: Type.Optional(Template),
    templates: ClassifyTemplates,
  },
  {
    title: 'Classify',
    additionalProperties: false,
    description: "Zero-shot classification through CLIP's text tower. The template is `{}`, the label alone, unless given.",
  },
)

export type ClassifyInput = Static<typeof ClassifyShape>

export const ClassScoreShape = Type.Object(
  {
    label: Type.String(),
    index: Type.Integer(),
    logit: Type.Union([Type.Number(), Type.Null()], { description: 'Null where an edit made it infinite or not a number.' }),
    probability: Type.Union([Type.Number(), Type.Null()]),
  },
  { title: 'ClassScore', additionalProperties: false },
)

export type ClassScore = Static<typeof ClassScoreShape>

/** @throws INPUT_INVALID, LIMIT_EXCEEDED */
export function checkClassify(classify: ClassifyInput, model: ModelRecord): void {
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path: 'classify', problem })
  if (!model.description.text)
    throw refuse(`${model.id} has no text tower, so it cannot classify by labels. Its own classes need no "classify"`)
  if (model.description.vision.output.axes.length !== 2)
    throw refuse(`${model.id} does not pool: its answer has a row for each position, and no one embedding to compare with labels`)
  if (classify.template !== undefined && classify.templates !== undefined) throw refuse('takes only one of "template" and "templates"')
  const given = classify.labels.length * (classify.templates?.length ?? 1)
  if (given > fixedLimits.prompts) {
    const what = 'labels times templates'
    throw new RequestError('LIMIT_EXCEEDED', {
      limit: 'prompts',
      given,
      maximum: fixedLimits.prompts,
      what,
      instead: 'Use fewer templates.',
    })
  }
}

/** Scores of pictures against labels, `[batch, label]`: the model's own temperature times the cosine. */
export async function zeroShotLogits(
  context: Context,
  { model, classify, images }: { readonly model: ModelRecord; readonly classify: ClassifyInput; readonly images: Tensor<'float32'> },
  call: Call,
): Promise<Tensor<'float32'>> {
  const templates = classify.templates ?? [classify.template ?? '{}']
  const labels = await embedLabels(context, { model, labels: classify.labels, templates }, call)
  const { logitScale = 1, logitBias = 0 } = model.description
  return zeroShotScores(images, labels, { logitScale, logitBias }).logits
}

const TEXTS_PER_RUN = 64

/** One unit vector a label, `[label, dEmbed]`; only labels that were not asked for before go through the text tower. */
export async function embedLabels(
  context: Pick<Context, 'host' | 'classEmbeddings'>,
  { model, labels, templates }: { readonly model: ModelRecord; readonly labels: readonly string[]; readonly templates: readonly string[] },
  call: Call,
): Promise<Tensor<'float32'>> {
  const source = modelSource(model)
  const keys = new Map(labels.map((label) => [label, classKey(source.key, templates, label)]))
  const missing = labels.filter((label) => !context.classEmbeddings.get(keys.get(label)!))
  const found = new Map(labels.map((label) => [label, context.classEmbeddings.get(keys.get(label)!)]))

  const labelsPerRun = Math.max(1, Math.floor(TEXTS_PER_RUN / templates.length))
  for (let from = 0; from < missing.length; from += labelsPerRun) {
    const some = missing.slice(from, from + labelsPerRun)
    const texts = promptsOf(some, templates).flat()
    const { output } = await context.host.run({ model: source, inputs: { kind: 'text', texts }, read: [], edits: [] }, call.signal)
    const { shape, data } = labelEmbeddings(output, some.length)
    for (const [index, label] of some.entries()) {
      const embedding = data.slice(index * shape[1]!, (index + 1) * shape[1]!)
      found.set(label, embedding)
      context.classEmbeddings.set(keys.get(label)!, embedding)
    }
  }
  const rows = labels.map((label) => found.get(label)!)
  const width = rows[0]!.length
  const data = new Float32Array(rows.length * width)
  for (const [index, row] of rows.entries()) data.set(row, index * width)
  return { dtype: 'float32', shape: [rows.length, width], data }
}

/** The `topK` most probable classes of each row, best first; softmax over all of them. */
export function rankClasses(
  logits: Tensor<'float32'>,
  { labels, topK }: { readonly labels: readonly string[] | undefined; readonly topK: number },
): ClassScore[][] {
  const [batch, nClasses] = logits.shape as [number, number]
  return Array.from({ length: batch }, (_, row) => {
    const scores = logits.data.subarray(row * nClasses, (row + 1) * nClasses)
    const probabilities = probabilitiesOf(scores)
    const order = Array.from(scores, (_, index) => index).sort((a, b) => scores[b]! - scores[a]! || a - b)
    return order.slice(0, topK).map((index) => ({
      label: labels?.[index] ?? String(index),
      index,
      logit: finite(scores[index]!),
      probability: finite(probabilities[index]!),
    }))
  })
}

const finite = (value: number) => (Number.isFinite(value) ? value : null)

/**
 * What a training step is fed beside pictures, labels and captions: which rows show the same thing, the texts of classes and which of them each
 * picture has, which patches are seen.
 */

import type { Batches } from '../../datasets/batches.js'
import { captionTokens } from '../../datasets/caption-tokens.js'
import type { Dataset } from '../../datasets/dataset.js'
import { facetClasses, inWords } from '../../datasets/facets.js'
import type { VisionConfig } from '../../models/model.js'
import type { ClipTokenizer } from '../../models/tokenizer.js'
import { promptsOf } from '../../models/zero-shot.js'
import type { Random } from '../../random.js'
import type { StrictFields } from '../../strict-fields.js'
import { type Tensor, tensor } from '../../tensor.js'
import { classLabelsInput, classTokensInput, type TextClasses } from '../model-objective.js'
import { drawKeptPatches, keptPatchesInput } from '../patch-dropout.js'
import type { Batch } from '../stepper.js'
import type { BatchSource } from '../train-model.js'

/** `textClasses: [{ facet, templates, weight, labelSmoothing }]` */
export interface TextClassesFields {
  readonly facet: string
  readonly templates: readonly string[]
  readonly weight: number
  readonly labelSmoothing: number
}

export function readTextClasses(fields: StrictFields): TextClassesFields[] {
  return (fields.sections('textClasses') ?? []).map((section) => ({
    facet: section.string('facet'),
    templates: readTemplates(section),
    weight: section.number('weight', { min: 0, max: 1000, fallback: 1 }),
    labelSmoothing: section.number('labelSmoothing', { min: 0, max: 0.999, fallback: 0 }),
  }))
}

/** `templates`: texts with `{}` where a value goes. */
export function readTemplates(section: StrictFields): readonly string[] {
  const templates = section.strings('templates', ['{}'])
  const empty = templates.find((template) => !template.includes('{}'))
  if (empty !== undefined) section.problem('templates', `"${empty}" has no {} for the value`)
  return templates
}

/** What makes a batch's further inputs from the items in it. */
type Feed = (step: number, items: Uint32Array) => Batch

/** Batches with what the feeds add. */
export function fed(batches: Batches, feeds: readonly Feed[]): BatchSource {
  return {
    async at(step) {
      const { items, pixels, labels, tokens } = await batches.at(step)
      return Object.assign({ pixels, ...(labels && { labels }), ...(tokens && { tokens }) }, ...feeds.map((feed) => feed(step, items)))
    },
  }
}

/** `groups`: rows with one value of a facet show the same thing. @throws INPUT_INVALID when an item does not have it */
export function groupsFeed(dataset: Dataset, facet: string): Feed {
  const { labels } = facetClasses(dataset, facet, 'sameBy')
  return (_, items) => ({ groups: labelsOf(items, labels) })
}

/** Which patches are seen, drawn anew for each step; nothing where all are. */
export function keptPatchesFeed(vision: VisionConfig, dropout: number, random: Random): Feed {
  if (dropout === 0) return () => ({})
  return (step) => ({ [keptPatchesInput]: drawKeptPatches(vision, dropout, random.fork(`step ${step}`)) })
}

/**
 * The texts of all classes, each in a template drawn for the step, and the pictures' classes.
 * @throws INPUT_INVALID when an item does not have a facet
 */
export function textClassesFeed(
  questions: readonly TextClassesFields[],
  { dataset, tokenizer, random }: { readonly dataset: Dataset; readonly tokenizer: ClipTokenizer; readonly random: Random },
): { readonly textClasses: readonly TextClasses[]; readonly feed: Feed } {
  const classes = questions.map((question) => {
    const { values, labels } = facetClasses(dataset, question.facet, 'textClasses.facet')
    return { question, labels, prompts: promptsOf(values.map(inWords), question.templates) }
  })
  const tokensOf = captionTokens(tokenizer)
  return {
    textClasses: classes.map(({ question: { facet, weight, labelSmoothing }, prompts }) => ({
      name: facet,
      nClasses: prompts.length,
      weight,
      labelSmoothing,
    })),
    feed: (step, items) => {
      const ofStep = random.fork(`step ${step}`)
      const texts = classes.flatMap(({ prompts }) => prompts.map((ofClass) => ofClass[ofStep.below(ofClass.length)]!))
      const labels = classes.map(({ question, labels }) => [classLabelsInput(question.facet), labelsOf(items, labels)])
      return { [classTokensInput]: tokensOf(texts), ...Object.fromEntries(labels) }
    },
  }
}

function labelsOf(items: Uint32Array, labels: readonly number[]): Tensor<'int64'> {
  return tensor(
    'int64',
    [items.length],
    BigInt64Array.from(items, (item) => BigInt(labels[item]!)),
  )
}

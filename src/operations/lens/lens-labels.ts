/** What the lens reads for: labels of the request, values of a facet of a data set, or a classifier's own classes. */

import type { ModelRecord } from '../../catalog/catalog.js'
import type { LensLabels } from '../../engine/analyses/lens/logit-lens.js'
import { scoringOf } from '../../engine/analyses/targets.js'
import { inWords } from '../../engine/datasets/facets.js'
import { EngineError } from '../../engine/errors.js'
import type { VisionConfig } from '../../engine/models/model.js'
import { nearest } from '../../engine/nearest.js'
import { checkClassify, embedLabels } from '../classify.js'
import { findDataset } from '../datasets.js'
import { type Problems, RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import type { Call, Context } from '../operation.js'
import type { LabelInput } from '../schemas/lens.js'

export interface ChosenLabels {
  /** In the order of the logits. */
  readonly names: readonly string[]
  /** What is embedded; absent: the names are a classifier's own classes. */
  readonly texts?: { readonly texts: readonly string[]; readonly templates: readonly string[] }
  /** Of each, a picture that the data set of the facet has of it. */
  readonly pictures?: readonly (string | null)[]
}

const refusal = (path: string, problem: string) => new EngineError('INPUT_INVALID', { path, problem })

/** Everything that can be refused before anything runs goes to `problems`. @throws DATASET_UNKNOWN */
export async function chooseLabels(
  { catalog }: Pick<Context, 'catalog'>,
  { classify, facet }: LabelInput,
  model: ModelRecord,
  problems: Problems,
): Promise<ChosenLabels> {
  const none: ChosenLabels = { names: [] }
  if (classify && facet) {
    problems.add('facet', refusal('facet', 'is there, and "classify" too; labels come from one of them'))
    return none
  }
  if (classify) {
    problems.collect('classify', () => checkClassify(classify, model))
    return { names: classify.labels, texts: { texts: classify.labels, templates: classify.templates ?? [classify.template ?? '{}'] } }
  }
  if (facet) return (await facetLabels(catalog, facet, model, problems)) ?? none
  const { config } = model.description.vision
  const { head } = config as VisionConfig
  if (head.kind === 'classes') {
    const { classLabels } = model.description
    return { names: Array.from({ length: head.dOut }, (_, index) => classLabels?.[index] ?? String(index)) }
  }
  const problem = model.description.text
    ? 'is missing: the model has no classes of its own; say which labels to read for, with "classify" or with "facet"'
    : `is missing, and ${model.id} has neither classes nor a text tower that could embed labels: a lens needs one of them`
  problems.add('classify', refusal('classify', problem))
  return none
}

/** Of a data set whose facets would all have to be read. */
export function tooManyItems(given: number): RequestError {
  const instead = 'Name the labels themselves, with "classify".'
  return new RequestError('LIMIT_EXCEEDED', {
    limit: 'facetItems',
    given,
    maximum: fixedLimits.facetItems,
    what: 'pictures of the data set',
    instead,
  })
}

async function facetLabels(
  catalog: Context['catalog'],
  { dataset, facet, templates = ['{}'] }: NonNullable<LabelInput['facet']>,
  model: ModelRecord,
  problems: Problems,
): Promise<ChosenLabels | undefined> {
  const { nItems } = await findDataset(catalog, dataset)
  if (nItems > fixedLimits.facetItems) {
    problems.add('facet.dataset', tooManyItems(nItems))
    return undefined
  }
  const pictures = new Map<string, string | null>()
  const known = new Set<string>()
  for await (const { facets, imageId } of catalog.datasets.allItems(dataset)) {
    for (const name of Object.keys(facets)) known.add(name)
    const value = facets[facet]
    if (value !== undefined && !pictures.has(String(value))) pictures.set(String(value), imageId)
  }
  const names = [...pictures.keys()].sort()
  const [near] = nearest(facet, [...known])
  if (names.length === 0) {
    const hint = near === undefined ? `${[...known].join(', ') || 'nothing'} is` : `did you mean "${near}"?`
    problems.add('facet.facet', refusal('facet.facet', `"${facet}" is not known of the pictures of ${dataset}; ${hint}`))
    return undefined
  }
  if (names.length > fixedLimits.labels) {
    const instead = 'Choose a facet with fewer values.'
    const about = { limit: 'labels', given: names.length, maximum: fixedLimits.labels, what: `values of "${facet}"`, instead } as const
    problems.add('facet.facet', new RequestError('LIMIT_EXCEEDED', about))
    return undefined
  }
  problems.collect('facet', () => checkClassify({ labels: names, templates }, model))
  return { names, texts: { texts: names.map(inWords), templates }, pictures: names.map((name) => pictures.get(name) ?? null) }
}

/** The index of `target` among the names; undefined where none is given or it is refused. */
export function targetIndex(target: LabelInput['target'], names: readonly string[], problems: Problems): number | undefined {
  if (target === undefined || names.length === 0) return undefined
  const index = typeof target === 'number' ? target : names.indexOf(target)
  if (index >= 0 && index < names.length) return index
  const near = typeof target === 'string' ? nearest(target.slice(0, 200), names).map((name) => `"${name}"`) : []
  const hint = near.length > 0 ? `did you mean ${near.join(' or ')}?` : `they are ${names.length}, from 0`
  problems.add('target', refusal('target', `${JSON.stringify(target).slice(0, 120)} is none of the labels; ${hint}`))
  return undefined
}

/** What the engine takes; undefined for a classifier's own classes. Labels that were not asked for before go through the text tower. */
export async function lensLabels(
  context: Context,
  { texts: embedded }: ChosenLabels,
  model: ModelRecord,
  call: Call,
): Promise<LensLabels | undefined> {
  if (!embedded) return undefined
  const unique = [...new Set(embedded.texts)]
  const { shape, data } = await embedLabels(context, { model, labels: unique, templates: embedded.templates }, call)
  const width = shape[1]!
  const directions = new Float32Array(embedded.texts.length * width)
  for (const [index, text] of embedded.texts.entries()) {
    const from = unique.indexOf(text) * width
    directions.set(data.subarray(from, from + width), index * width)
  }
  return {
    directions: { dtype: 'float32', shape: [embedded.texts.length, width], data: directions },
    scoring: scoringOf(model.description),
    bias: model.description.logitBias ?? 0,
  }
}

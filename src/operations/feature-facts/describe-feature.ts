/**
 * Features as clients see them: indices become names and pictures.
 */

import type { Catalog } from '../../catalog/catalog.js'
import type { DatasetItemRecord } from '../../catalog/datasets.js'
import type { Explanation } from '../../catalog/explanations.js'
import type { StoredExample } from '../../catalog/feature-codec.js'
import type { FeatureSetAbout, FeatureSetRecord, FeatureSummary, StoredFeature } from '../../catalog/feature-sets.js'
import { binEdges } from '../../engine/evaluation/activation-bins.js'
import type { ActivationHistogram, FeatureExample, WeightedIndex } from '../../engine/evaluation/feature-record.js'
import type { ExampleAnswer, FeatureAnswer, FeatureSummaryAnswer } from '../schemas/feature.js'
import { FeatureAddresses, imageUrl } from './feature-addresses.js'

/** What the pictures and labels of a data set are called. */
export interface Pictures {
  readonly items: ReadonlyMap<number, DatasetItemRecord>
  readonly classNames: readonly string[]
}

/** Of all examples, in one statement. Nothing is known of a data set that was removed. */
export async function picturesOf(catalog: Catalog, set: FeatureSetRecord, examples: readonly FeatureExample[]): Promise<Pictures> {
  const indices = [...new Set(examples.map(({ item }) => item))]
  if (indices.length === 0) return { items: new Map(), classNames: [] }
  const { items, classNames } = await catalog.datasets.itemsOf(set.dataset, indices)
  return { items: new Map(items.map((item) => [item.index, item])), classNames }
}

export interface Described {
  readonly set: FeatureSetRecord
  readonly pictures: Pictures
}

export function summarizeFeature(feature: FeatureSummary, { set, pictures }: Described): FeatureSummaryAnswer {
  const { index, statistics, examples, explanations } = feature
  const addresses = new FeatureAddresses(set, index)
  return {
    ...{ id: `${set.saeId}/${index}`, sae: set.saeId, index, dataset: set.dataset.id },
    statistics,
    explanations: explanations.map(describeExplanation),
    pictures: addresses.pictures(),
    examples: examples.map((example) => describeExample(example, { addresses, set, pictures })),
  }
}

export function describeFeature(feature: StoredFeature, { set, pictures }: Described): FeatureAnswer {
  const { histogram, imageHistogram, labels, neighbours, coactive, classEffects, wordEffects } = feature.data
  const { saeId, about } = set
  return {
    ...summarizeFeature(feature, { set, pictures }),
    histogram: describeHistogram(histogram),
    imageHistogram: describeHistogram(imageHistogram),
    labels: named(labels, about.labelNames ?? pictures.classNames),
    neighbours: related(neighbours, saeId),
    coactive: related(coactive, saeId),
    classEffects: named(classEffects, about.classNames),
    wordEffects: named(wordEffects, about.words),
  }
}

export function describeExplanation({ id, text, author, method, score, createdAt }: Explanation) {
  return { id, text, author, method, score, createdAt: createdAt.toISOString() }
}

function describeExample(
  example: StoredExample,
  { addresses, set, pictures }: Described & { readonly addresses: FeatureAddresses },
): ExampleAnswer {
  const { kind, token, score, position, item } = example
  const known = pictures.items.get(item)
  const imageId = known?.imageId ?? null
  return {
    kind,
    token,
    score,
    position,
    item,
    patch: token === 'patch' ? patchAt(position, set.about) : null,
    name: known?.name ?? null,
    image: imageId,
    imageUrl: imageId === null ? null : imageUrl(imageId),
    heatmapUrl: imageId === null ? null : addresses.heatmap(example),
    label: known?.label == null ? null : (pictures.classNames[known.label] ?? String(known.label)),
  }
}

function patchAt(position: number, { patches }: FeatureSetAbout) {
  if (!patches) return null
  const patch = position - patches.first
  return { row: Math.floor(patch / patches.columns), col: patch % patches.columns }
}

function describeHistogram(histogram: ActivationHistogram) {
  return { edges: binEdges(histogram), counts: [...histogram.counts] }
}

const named = (list: readonly WeightedIndex[], names: readonly string[] = []) =>
  list.map(({ index, value }) => ({ index, name: names[index] ?? null, value }))

const related = (list: readonly WeightedIndex[], saeId: string) =>
  list.map(({ index, value }) => ({ id: `${saeId}/${index}`, index, value }))

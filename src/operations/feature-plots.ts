/**
 * What an index says of features, as plots: how active one is where it is active, and how often all of them are.
 */

import { Type } from 'typebox'
import { binEdges } from '../engine/evaluation/activation-bins.js'
import { type Histogram, plotHistogram } from '../engine/plots/histogram.js'
import { DRAWING_VERSION, type DrawnFile, DrawnFileShape, versionField } from './drawn/drawn-file.js'
import { digestOf } from './drawn/drawn-pictures.js'
import { DatasetField, featureFields, findFeature, findFeatureSet } from './feature-facts/find-feature.js'
import { defineOperation } from './operation.js'

/** Bins to a decade of densities. */
const BINS_PER_DECADE = 8

export const featureHistogram = defineOperation({
  name: 'featureHistogram',
  kind: 'query',
  scope: 'read',
  summary: "A histogram of a feature's activations, where it is active",
  input: Type.Object(
    { ...featureFields, dataset: DatasetField, ...versionField },
    { title: 'FeatureHistogramInput', additionalProperties: false },
  ),
  output: DrawnFileShape,

  async run({ catalog }, input): Promise<DrawnFile> {
    const { feature } = await findFeature(catalog, input)
    const { histogram } = feature.data
    const edges = binEdges(histogram).map(Math.log10)
    const marks = (['mean', 'max'] as const).flatMap((name) => {
      const value = feature.statistics[name]
      return value ? [{ at: Math.log10(value), label: `${name} ${Number(value.toPrecision(3))}` }] : []
    })
    const svg = plotHistogram(edges.length > 0 ? { edges, counts: histogram.counts } : nothing, {
      title: `Activations of feature ${input.index}`,
      x: { label: 'activation, where it is active', scale: 'log10' },
      y: { label: 'tokens' },
      marks,
    })
    return textFile(svg)
  },
})

export const featureDensity = defineOperation({
  name: 'featureDensity',
  kind: 'query',
  scope: 'read',
  summary: 'How often the features of an SAE are active, all of them, with one of them marked',
  input: Type.Object(
    { ...featureFields, dataset: DatasetField, ...versionField },
    { title: 'FeatureDensityInput', additionalProperties: false },
  ),
  output: DrawnFileShape,

  async run({ catalog }, input): Promise<DrawnFile> {
    const { set, feature } = await findFeature(catalog, input)
    const density = feature.statistics.density
    const marks = density ? [{ at: Math.log10(density), label: `feature ${input.index}` }] : []
    return textFile(plotDensities(await catalog.features.statistic(set, 'density'), { sae: input.sae, marks }))
  },
})

export const saeDensity = defineOperation({
  name: 'saeDensity',
  kind: 'query',
  scope: 'read',
  summary: 'How often the features of an SAE are active, all of them',
  input: Type.Object(
    { sae: featureFields.sae, dataset: DatasetField, ...versionField },
    { title: 'SaeDensityInput', additionalProperties: false },
  ),
  output: DrawnFileShape,

  async run({ catalog }, input): Promise<DrawnFile> {
    const set = await findFeatureSet(catalog, input)
    return textFile(plotDensities(await catalog.features.statistic(set, 'density'), { sae: input.sae, marks: [] }))
  },
})

function plotDensities(densities: Float32Array, { sae, marks }: { sae: string; marks: readonly { at: number; label: string }[] }): string {
  const bins = Array.from(
    densities.filter((density) => density > 0),
    (density) => Math.floor(Math.log10(density) * BINS_PER_DECADE),
  )
  // up to a density of 1, and at least a decade
  const first = bins.reduce((least, bin) => Math.min(least, bin), -BINS_PER_DECADE)
  const edges = Array.from({ length: 1 - first }, (_, at) => (first + at) / BINS_PER_DECADE)
  const counts = new Array<number>(-first).fill(0)
  for (const bin of bins) {
    const at = Math.min(bin, -1) - first
    counts[at] = counts[at]! + 1
  }
  return plotHistogram(
    { edges, counts },
    {
      title: `Densities of the features of ${sae}`,
      x: { label: 'share of tokens at which a feature is active', scale: 'log10' },
      y: { label: 'features' },
      apart: { label: 'never', count: densities.length - bins.length },
      marks,
    },
  )
}

function textFile(svg: string): DrawnFile {
  return { tag: digestOf([DRAWING_VERSION, svg]), draw: async () => Buffer.from(svg) }
}

/** Of a feature that is never active: a decade without a bar. */
const nothing: Histogram = { edges: [0, 1], counts: [0] }

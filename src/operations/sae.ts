/**
 * One SAE: what it is, its numbers and where they come from, its files or how to get them.
 */

import { Type } from 'typebox'
import type { FeatureSetRecord } from '../catalog/feature-sets.js'
import { headlineValue } from '../catalog/headline-metrics.js'
import type { MetricRecord } from '../catalog/metric-values.js'
import { type SaeEntry, type SaeWithMetrics, saeStatus } from '../catalog/saes.js'
import { unknownSae } from './feature-facts/find-feature.js'
import { defineOperation } from './operation.js'
import { type MetricValueAnswer, type SaeAnswer, SaeId, SaeShape } from './schemas/sae.js'

export const sae = defineOperation({
  name: 'sae',
  kind: 'query',
  scope: 'read',
  summary: 'An SAE: what it is, its numbers and where they come from, and its files or how to get them',
  input: Type.Object({ id: SaeId }, { title: 'SaeInput', additionalProperties: false }),
  output: SaeShape,
  example: { id: 'clip-vit-b-32-datacomp-xl.9-resid-post.vanilla-x64-all' },

  async run({ catalog }, { id }) {
    const entry = await catalog.saes.getWithMetrics(id)
    return describeSae(entry ?? (await unknownSae(catalog, id)))
  },
})

/** An entry as clients see it. */
export function describeSae(entry: SaeWithMetrics): SaeAnswer {
  const { id, modelId, metrics, featureSets, download, createdAt, ...facts } = entry
  const { provenance: _, isPublished: __, ...shown } = facts
  const config = download?.description.config
  return {
    ...shown,
    id,
    model: modelId,
    status: saeStatus(entry),
    isTranscoder: facts.hookPointIn !== facts.hookPointOut,
    activation: config?.activation ?? null,
    normalization: config?.normalization ?? null,
    headlines: {
      explainedVariance: headlineOf('explainedVariance', metrics),
      l0: headlineOf('l0', metrics),
      ceRecovered: headlineOf('ceRecovered', metrics),
      aliveFeatures: headlineOf('aliveFeatures', metrics),
    },
    metrics: metrics.map(describeMetricValue),
    featureSets: featureSets.map(describeFeatureSet),
    provenance: describeProvenance(entry),
    layout: download?.description.layout ?? null,
    rulesUsed: (download?.description.resolvedBy ?? []).map(({ field, rule }) => ({ field, rule })),
    weightsSha256: download?.weightsSha256 ?? null,
    weightBytes: download?.weightBytes ?? null,
    files: (download?.files ?? []).map(({ path, bytes, sha256 }) => ({ path, bytes, sha256 })),
    fetch: fetchOf(entry),
    createdAt: createdAt.toISOString(),
  }
}

function headlineOf(name: Parameters<typeof headlineValue>[0], metrics: readonly MetricRecord[]) {
  const found = headlineValue(name, metrics)
  return found ? { value: found.value, metric: found.of.metric, source: found.of.source } : null
}

function describeMetricValue(record: MetricRecord): MetricValueAnswer {
  const { metric, version, value, low, high, flags, source, dataset, n, seed, dtype, backend, codeVersion, measuredAt } = record
  return {
    metric,
    version,
    value,
    ...(low !== undefined && { low }),
    ...(high !== undefined && { high }),
    flags: [...flags],
    source,
    dataset,
    n,
    seed,
    dtype,
    backend,
    codeVersion,
    measuredAt: measuredAt?.toISOString() ?? null,
  }
}

function describeFeatureSet({ dataset, width, about, seed, dtype, backend, codeVersion, measuredAt }: FeatureSetRecord) {
  return {
    ...{
      dataset: dataset.id,
      datasetHash: dataset.hash,
      nFeatures: width,
      nImages: about.nImages,
      imageEncoder: about.imageEncoder ?? null,
    },
    ...{ seed, dtype, backend, codeVersion },
    measuredAt: measuredAt.toISOString(),
  }
}

function describeProvenance({ provenance }: SaeEntry): SaeAnswer['provenance'] {
  if (provenance.kind !== 'hub') return { kind: provenance.kind, name: provenance.name }
  const { repo, revision, requestedRevision, endpoint } = provenance
  return {
    ...{ kind: 'hub', repo },
    ...(revision !== null && { revision }),
    ...(requestedRevision !== null && { requestedRevision }),
    ...(endpoint !== null && { endpoint }),
  }
}

function fetchOf({ id, download, provenance }: SaeEntry): SaeAnswer['fetch'] {
  return download === null && provenance.kind === 'hub' ? { command: `refract import ${id}`, source: id } : null
}

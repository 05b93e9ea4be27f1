/**
 * A row of `feature_sets`.
 */

import type { FeatureStatistic } from '../engine/evaluation/feature-record.js'
import type { FeatureSet } from '../generated/prisma/client.js'
import type { FeatureSetAbout, FeatureSetRecord } from './feature-sets.js'

export function featureSetRecordOf(row: FeatureSet): FeatureSetRecord {
  const { id, saeId, datasetId, datasetHash, width, statisticNames, about, seed, dtype, backend, codeVersion, measuredAt } = row
  const { embeddingsSha256: sha256, embeddingsPlace: place } = row
  return {
    ...{ id, saeId, width, seed, dtype, backend, codeVersion, measuredAt },
    dataset: { id: datasetId, hash: datasetHash },
    statistics: statisticNames as FeatureStatistic[],
    about: about as unknown as FeatureSetAbout,
    ...(sha256 !== null && place !== null && { embeddings: { sha256, place } }),
  }
}

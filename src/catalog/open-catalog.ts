/**
 * The catalog over a database that is up to date and a data folder.
 */

import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PrismaPg } from '@prisma/adapter-pg'
import { EngineError } from '../engine/errors.js'
import { PrismaClient } from '../generated/prisma/client.js'
import { apiKeyCatalog } from './api-keys.js'
import { baseModelCatalog } from './base-models.js'
import { openBlobStore } from './blob-store.js'
import type { Catalog } from './catalog.js'
import { datasetCatalog } from './datasets.js'
import { explanationCatalog } from './explanations.js'
import { featureCatalog, recentFeatureSets } from './feature-catalog.js'
import { imageCatalog } from './images.js'
import { openJobConnection } from './jobs/connection.js'
import { jobCatalog } from './jobs/job-catalog.js'
import { jobLeases } from './jobs/leases.js'
import { folderPartStore, s3PartStore } from './jobs/part-store.js'
import { leftBlobs } from './left-blobs.js'
import { metricCatalog } from './metric-catalog.js'
import { modelCatalog } from './models.js'
import { placeOf } from './place.js'
import { databaseError } from './postgres/database-errors.js'
import { statementNames } from './postgres/statement-names.js'
import { runCatalog } from './runs.js'
import { openS3BlobStore, type S3Place, s3PlaceName } from './s3-blob-store.js'
import { saeCatalog } from './sae-catalog.js'
import { vectorCatalog } from './vectors.js'

/** Enough for a busy server, few enough for several servers on one embedded PostgreSQL. */
const MAX_CONNECTIONS = 10
const CONNECT_MS = 5000
/** Every query here takes milliseconds: a database that is silent for so long is taken for gone. */
const QUERY_MS = 15_000
/** A question whether it is there wants an answer soon. */
const PING_MS = 2000
/** What may be asked twice. */
const READS = /^(find|count|aggregate|groupBy|\$queryRaw)/
const RETRY_MS = 100

export interface CatalogPlaces {
  readonly databaseUrl: string
  readonly dataDir: string
  /** Where blobs are, when not in the data folder. */
  readonly s3?: S3Place
}

/** The database must be migrated (`migrate.ts`). @throws STORAGE_FULL, DATABASE_UNAVAILABLE, BLOBS_UNAVAILABLE */
export async function openCatalog({ databaseUrl, dataDir, s3 }: CatalogPlaces): Promise<Catalog> {
  const folder = path.resolve(dataDir)
  const bucket = s3 && (await openS3BlobStore(s3))
  const blobs = bucket ?? (await openBlobStore(folder))
  const jobParts = s3 ? s3PartStore(s3) : folderPartStore(folder)
  const dataFolder = await placeOf(folder)
  const jobs = openJobConnection(databaseUrl)
  const nameOf = statementNames()
  const adapter = new PrismaPg(
    { connectionString: databaseUrl, max: MAX_CONNECTIONS, connectionTimeoutMillis: CONNECT_MS, query_timeout: QUERY_MS },
    { statementNameGenerator: ({ sql }) => nameOf(sql) },
  )
  // Prisma would give up on a machine so busy that a connection takes 2 s, which every other query waits for.
  const transactionOptions = { maxWait: CONNECT_MS + QUERY_MS, timeout: QUERY_MS }
  const client = new PrismaClient({ adapter, errorFormat: 'minimal', transactionOptions })
  const extended = client.$extends({
    query: {
      async $allOperations({ operation, args, query }) {
        try {
          return await query(args)
        } catch (error) {
          const refusal = databaseError(error, databaseUrl)
          if (!(refusal instanceof EngineError && READS.test(operation))) throw refusal
          // A pooled connection that the server closed shows only when it is used. By now the pool has dropped the others, too.
          await sleep(RETRY_MS)
          return query(args).catch((again: unknown) => {
            throw databaseError(again, databaseUrl)
          })
        }
      },
    },
  })
  // it differs from a client only in what it throws
  const prisma = extended as unknown as PrismaClient
  const baseModels = baseModelCatalog(prisma)
  const featureSets = recentFeatureSets(prisma)
  const blobPlace = s3 ? s3PlaceName(s3) : dataFolder
  return {
    models: modelCatalog(prisma, folder),
    images: imageCatalog(prisma, blobs),
    apiKeys: apiKeyCatalog(prisma),
    baseModels,
    saes: saeCatalog({ prisma, baseModels, featureSets, dataDir: folder }),
    metrics: metricCatalog(prisma),
    datasets: datasetCatalog(prisma),
    features: featureCatalog({ prisma, databaseUrl, sets: featureSets }),
    explanations: explanationCatalog(prisma),
    vectors: vectorCatalog(prisma, baseModels),
    runs: runCatalog(prisma),
    jobs: jobCatalog(jobs),
    jobLeases: jobLeases(jobs),
    jobParts,
    blobs,
    leftBlobs: leftBlobs({ prisma, blobs, place: blobPlace }),
    places: { dataFolder, blobs: blobPlace },
    prisma,
    async ping() {
      const answer = prisma.$queryRaw`select 1`.then(
        () => true,
        () => false,
      )
      return Promise.race([answer, sleep(PING_MS, false, { ref: false })])
    },
    async close() {
      await Promise.all([prisma.$disconnect(), jobs.close()])
      bucket?.close()
      jobParts.close()
    },
  }
}

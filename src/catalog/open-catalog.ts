/**
 * The catalog over a database that is up to date and a data folder.
 */

import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PrismaPg } from '@prisma/adapter-pg'
import { EngineError } from '../engine/errors.js'
import { PrismaClient } from '../generated/prisma/client.js'
import { apiKeyCatalog } from './api-keys.js'
import { openBlobStore } from './blob-store.js'
import type { Catalog } from './catalog.js'
import { imageCatalog } from './images.js'
import { modelCatalog } from './models.js'
import { databaseError } from './postgres/database-errors.js'

/** Enough for a busy server, few enough for several servers on one embedded PostgreSQL. */
const MAX_CONNECTIONS = 10
const CONNECT_MS = 5000
/** What may be asked twice. */
const READS = /^(find|count|aggregate|groupBy|\$queryRaw)/
const RETRY_MS = 100

/** The database must be migrated (`migrate.ts`). @throws STORAGE_FULL, DATABASE_UNAVAILABLE */
export async function openCatalog({ databaseUrl, dataDir }: { readonly databaseUrl: string; readonly dataDir: string }): Promise<Catalog> {
  const folder = path.resolve(dataDir)
  const blobs = await openBlobStore(folder)
  const adapter = new PrismaPg({ connectionString: databaseUrl, max: MAX_CONNECTIONS, connectionTimeoutMillis: CONNECT_MS })
  const client = new PrismaClient({ adapter, errorFormat: 'minimal' })
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
  return {
    models: modelCatalog(prisma, folder),
    images: imageCatalog(prisma, blobs),
    apiKeys: apiKeyCatalog(prisma),
    prisma,
    async ping() {
      try {
        await prisma.$queryRaw`select 1`
        return true
      } catch {
        return false
      }
    },
    close: () => prisma.$disconnect(),
  }
}

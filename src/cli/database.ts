/**
 * What every command that needs the catalog does first: find the database or start one, bring it up to date, open the catalog over it,
 * with what was published in it.
 */

import fs from 'node:fs/promises'
import type { Catalog } from '../catalog/catalog.js'
import { migrate } from '../catalog/migrate.js'
import { type CatalogPlaces, openCatalog } from '../catalog/open-catalog.js'
import { startEmbeddedPostgres } from '../catalog/postgres/embedded-postgres.js'
import { s3Of } from '../catalog/s3-blob-store.js'
import { seedCatalog } from '../catalog/seed/seed-catalog.js'
import type { Config } from '../config.js'
import { storageError } from '../engine/io/storage-errors.js'
import { UsageError } from './command.js'

export interface OpenDatabase {
  readonly catalog: Catalog
  /** What a process of ours opens the same catalog with; it holds the password. */
  readonly places: CatalogPlaces
  /** For people, without the password. */
  readonly description: string
  /** What was done to the schema. */
  readonly migrated: readonly string[]
  close(): Promise<void>
}

/** @throws DATABASE_UNAVAILABLE, STORAGE_FULL, BLOBS_UNAVAILABLE; UsageError when DATA_DIR cannot be written */
export async function openDatabase(config: Config, onProgress: (message: string) => void): Promise<OpenDatabase> {
  const { dataDir } = config
  await checkWritable(dataDir)
  return open(config, onProgress).catch((error: unknown) => {
    // whatever it was that found no room: a lock, the cluster, a folder
    throw storageError(error, dataDir)
  })
}

async function open(config: Config, onProgress: (message: string) => void): Promise<OpenDatabase> {
  const { dataDir, databaseUrl } = config
  const embedded = databaseUrl === '' ? await startEmbeddedPostgres({ dataDir, onProgress }) : undefined
  const url = embedded?.url ?? databaseUrl
  try {
    const migrated = await migrate(url)
    const s3 = s3Of(config)
    const places = { databaseUrl: url, dataDir, ...(s3 && { s3 }) }
    const catalog = await openCatalog(places)
    await seedCatalog(catalog.prisma)
    const how = embedded?.adopted ? 'shared' : 'own'
    return {
      catalog,
      places,
      migrated,
      description: embedded ? `embedded PostgreSQL on port ${embedded.port} (${how})` : withoutPassword(url),
      async close() {
        await catalog.close()
        await embedded?.stop()
      },
    }
  } catch (error) {
    await embedded?.stop()
    throw error
  }
}

async function checkWritable(dataDir: string): Promise<void> {
  try {
    await fs.mkdir(dataDir, { recursive: true })
    await fs.access(dataDir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    throw new UsageError(
      `DATA_DIR ${dataDir} cannot be used (${(error as Error).message}). Make it writable, or set DATA_DIR to another folder.`,
    )
  }
}

function withoutPassword(url: string): string {
  const { username, hostname, port, pathname } = new URL(url)
  return `postgresql://${username ? `${username}@` : ''}${hostname}:${port || '5432'}${pathname}`
}

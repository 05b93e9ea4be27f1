/**
 * What is known and where it is: models and images, with provenance. Postgres holds what one filters, sorts and counts; the blob store
 * (a folder) holds bytes by content hash.
 */

import type { ModelSource } from '../engine/host/host.js'
import type { ModelDescription, WeightProcessing } from '../engine/models/model.js'
import type { PrismaClient } from '../generated/prisma/client.js'
import type { BaseModelCatalog } from './base-models.js'
import type { BlobStore } from './blob-store.js'
import type { DatasetCatalog } from './datasets.js'
import type { ExplanationCatalog } from './explanations.js'
import type { FeatureCatalog } from './feature-sets.js'
import type { JobCatalog, JobLeases } from './jobs/job.js'
import type { PartStore } from './jobs/part-store.js'
import type { LeftBlobs } from './left-blobs.js'
import type { MetricCatalog } from './metric-values.js'
import type { Page, PageRequest } from './page.js'
import type { RunCatalog } from './runs.js'
import type { SaeCatalog } from './saes.js'
import type { VectorCatalog } from './vectors.js'

export interface FileRecord {
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

/** Where weights came from. `revision` is the hub's commit hash, never a branch name. */
export type Provenance =
  | {
      readonly kind: 'hub'
      readonly repo: string
      readonly revision: string
      readonly requestedRevision: string
      readonly endpoint: string
    }
  | { readonly kind: 'folder'; readonly name: string }

export interface NewModel {
  /** The slug; stable for ever. */
  readonly id: string
  readonly name: string
  readonly description: ModelDescription
  readonly provenance: Provenance
  readonly license: string | null
  readonly files: readonly FileRecord[]
  /**
   * The immutable identity of the weights. One weight file: its sha256, as `sha256sum` prints it and the hub shows it. Several shards:
   * sha256 over the lines `<sha256>  <path>` in order of path.
   */
  readonly weightsSha256: string
  readonly weightBytes: number
  /** Absolute. */
  readonly folder: string
  readonly processing: readonly WeightProcessing[]
}

export interface ModelRecord extends NewModel {
  readonly createdAt: Date
}

export interface ImageRecord {
  /** `sha256:<64 hex digits>` of the bytes as uploaded. */
  readonly id: string
  readonly format: 'jpeg' | 'png' | 'webp'
  readonly width: number
  readonly height: number
  readonly bytes: number
  readonly createdAt: Date
}

/** What a key may do: each scope is one of `api.md`'s; `admin` implies all others. */
export const apiKeyScopes = ['read', 'run', 'write', 'admin'] as const
export type ApiKeyScope = (typeof apiKeyScopes)[number]

export interface ApiKeyRecord {
  readonly id: string
  /** The first characters of the key, enough to tell keys apart and useless to call with. */
  readonly prefix: string
  readonly label: string
  readonly scopes: readonly ApiKeyScope[]
  readonly createdAt: Date
  /** To the minute. */
  readonly lastUsedAt: Date | null
  readonly revokedAt: Date | null
}

export interface Catalog {
  readonly models: {
    list(request: PageRequest & { readonly text?: string; readonly layout?: string }): Promise<Page<ModelRecord>>
    get(id: string): Promise<ModelRecord | undefined>
    /** All slugs, for "did you mean". */
    ids(): Promise<readonly string[]>
    register(model: NewModel): Promise<ModelRecord>
    remove(id: string): Promise<boolean>
  }
  readonly images: {
    /** Stores bytes that were already checked to be a picture; the same bytes twice are one image. */
    put(bytes: Uint8Array, info: Pick<ImageRecord, 'format' | 'width' | 'height'>): Promise<ImageRecord>
    /** The same for some hundreds at once; their ids. */
    putAll(
      pictures: readonly (Pick<ImageRecord, 'format' | 'width' | 'height'> & { readonly bytes: Uint8Array })[],
    ): Promise<readonly string[]>
    get(id: string): Promise<ImageRecord | undefined>
    list(request: PageRequest): Promise<Page<ImageRecord>>
    read(id: string): Promise<Uint8Array | undefined>
  }
  readonly apiKeys: {
    /** `key` is the secret; only its sha256 is stored, so it can be shown this once. */
    create(key: { readonly label: string; readonly scopes: readonly ApiKeyScope[] }): Promise<ApiKeyRecord & { readonly key: string }>
    list(): Promise<readonly ApiKeyRecord[]>
    /** By id or prefix. False when no such key is active. */
    revoke(idOrPrefix: string): Promise<boolean>
    /** The key that this secret belongs to; undefined when unknown or revoked. */
    verify(secret: string): Promise<ApiKeyRecord | undefined>
    /** How many keys are not revoked. 0: the server listens on loopback only and asks for no key. */
    countActive(): Promise<number>
  }
  readonly jobs: JobCatalog
  /** For workers. */
  readonly jobLeases: JobLeases
  /** For workers: what shards result in. */
  readonly jobParts: PartStore
  readonly blobs: BlobStore
  readonly leftBlobs: LeftBlobs
  /** What workers must share to work on the same files: the names of the data folder and of the blob store. */
  readonly places: { readonly dataFolder: string; readonly blobs: string }
  /** What SAEs were trained on, here or not. */
  readonly baseModels: BaseModelCatalog
  readonly saes: SaeCatalog
  readonly metrics: MetricCatalog
  readonly datasets: DatasetCatalog
  readonly features: FeatureCatalog
  readonly explanations: ExplanationCatalog
  readonly vectors: VectorCatalog
  readonly runs: RunCatalog
  /** For the GraphQL plugin that reads Prisma models directly. */
  readonly prisma: PrismaClient
  /** True when the database answers. */
  ping(): Promise<boolean>
  close(): Promise<void>
}

/** How the engine finds a catalogued model. */
export function modelSource(model: ModelRecord): ModelSource {
  return { key: `${model.id}@${model.weightsSha256.slice(0, 16)}`, folder: model.folder, processing: model.processing }
}

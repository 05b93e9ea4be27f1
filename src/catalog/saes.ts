/**
 * SAEs as the catalog knows them: what each is, where it was published, and, once it was fetched, where its files are. An SAE that is only
 * published is an entry like any other, without files.
 */

import type { SaeDescription } from '../engine/saes/load-sae.js'
import type { Architecture } from '../engine/saes/sae.js'
import type { FileRecord, Provenance } from './catalog.js'
import type { FeatureSetRecord } from './feature-sets.js'
import type { MetricRecord } from './metric-values.js'
import type { Page, PageRequest } from './page.js'

/** The tokens that an SAE was trained on. */
export const saePositions = ['all', 'cls', 'patches'] as const
export type SaePositions = (typeof saePositions)[number]

/**
 * Where an SAE comes from. Of one that was not fetched the revision may not be known (the newest is fetched then), and of one that stands
 * in a published table without a link nothing is: `table`, with the table's name.
 */
export type SaeProvenance =
  | Extract<Provenance, { kind: 'folder' }>
  | {
      readonly kind: 'hub'
      readonly repo: string
      /** The hub's commit. */
      readonly revision: string | null
      readonly requestedRevision: string | null
      readonly endpoint: string | null
    }
  | { readonly kind: 'table'; readonly name: string }

/** What is known of an SAE, downloaded or not. */
export interface SaeFacts {
  /** `{modelId}.{layer}-{site}.{variant}` (`sae-id.ts`); stable for ever. */
  readonly id: string
  /** Of a base model, which may not be here. */
  readonly modelId: string
  /** Who published it, and when several times, which: `prisma`; `local` of what was trained or found here. */
  readonly release: string
  /** SAEs that were trained in the same way and belong together. */
  readonly suite: string
  readonly architecture: Architecture
  readonly hookPointIn: string
  /** `hookPointIn`, but for a transcoder. */
  readonly hookPointOut: string
  /** Of `hookPointIn`; null where it is in no layer. */
  readonly layer: number | null
  /** Null where nobody says. */
  readonly positions: SaePositions | null
  /** The data set, by name. */
  readonly trainedOn: string | null
  /** dSae. */
  readonly width: number | null
  readonly dIn: number | null
  readonly dOut: number | null
  readonly k: number | null
  readonly l1Coefficient: number | null
  readonly provenance: SaeProvenance
  /** The weights' file within the repository or folder. */
  readonly file: string | null
  readonly license: string | null
  /** What a reader of the entry should know: where it stands, what is assumed. */
  readonly note: string | null
}

/** The files of an SAE that is here. */
export interface SaeDownload {
  /** Absolute. */
  readonly folder: string
  readonly files: readonly FileRecord[]
  /** sha256 of the weights' file, as the hub shows it. */
  readonly weightsSha256: string
  readonly weightBytes: number
  /** What `describeSae` says of the folder. `resolvedBy` names the rules that decided what the files leave open. */
  readonly description: SaeDescription
}

export interface NewSae extends SaeFacts {
  /** Absent: published, and not here. */
  readonly download?: SaeDownload
  /** True of the entries that the catalog is seeded with: removing one removes its files, and the entry stays. */
  readonly isPublished?: boolean
}

export interface SaeEntry extends SaeFacts {
  readonly isPublished: boolean
  readonly download: SaeDownload | null
  readonly createdAt: Date
}

/** With the values of its metrics, and the data sets on which its features are indexed. */
export interface SaeWithMetrics extends SaeEntry {
  readonly metrics: readonly MetricRecord[]
  /** Newest first. */
  readonly featureSets: readonly FeatureSetRecord[]
}

export type SaeStatus = 'published' | 'downloaded'

export function saeStatus({ download }: Pick<SaeEntry, 'download'>): SaeStatus {
  return download === null ? 'published' : 'downloaded'
}

export const saeSorts = ['id', 'layer', 'width', 'explainedVariance', 'l0', 'ceRecovered', 'aliveFeatures', 'createdAt'] as const
export type SaeSort = (typeof saeSorts)[number]

export interface SaeFilter {
  readonly model?: string
  readonly layer?: number
  /** In or out; `*` within a dot-separated part stands for anything. */
  readonly hookPoint?: string
  readonly architecture?: Architecture
  readonly isTranscoder?: boolean
  /** Of `positions`, or a part of the data set's name. */
  readonly trainedOn?: string
  readonly suite?: string
  readonly release?: string
  readonly status?: SaeStatus
  /** Percent. SAEs of which it is not known are left out. */
  readonly minExplainedVariance?: number
  /** At the positions that the SAE was trained on. SAEs of which it is not known are left out. */
  readonly maxL0?: number
  /** Words (or their beginnings), all of which occur in what the entry says. */
  readonly text?: string
}

export interface SaeListRequest extends PageRequest, SaeFilter {
  /** `id` unless given. What is not known comes last in either order. */
  readonly sort?: SaeSort
  readonly order?: 'asc' | 'desc'
}

/** What is learnt of an SAE when its files arrive. */
export interface AttachedFiles extends SaeDownload {
  readonly provenance: SaeProvenance
  readonly license: string | null
  readonly file: string
}

export interface SaeCatalog {
  list(request: SaeListRequest): Promise<Page<SaeWithMetrics>>
  get(id: string): Promise<SaeEntry | undefined>
  /** In one statement with the entry. */
  getWithMetrics(id: string): Promise<SaeWithMetrics | undefined>
  ids(): Promise<readonly string[]>
  /** Entries of a hub repository, whatever the case of its owner: what an import should attach its files to. */
  ofRepository(repo: string): Promise<readonly SaeEntry[]>
  /** The same SAE twice is one entry. @throws SAE_CONFLICT, BASE_MODEL_UNKNOWN */
  create(sae: NewSae): Promise<SaeEntry>
  /**
   * A published entry becomes downloaded; sizes, hook points and the architecture are from now on what the files say.
   * @throws SAE_CONFLICT when it has other weights already, or the files are of an SAE of another layer
   */
  attachFiles(id: string, files: AttachedFiles): Promise<SaeEntry>
  /** With its features, explanations and measured values. False when there is none. */
  remove(id: string): Promise<boolean>
}

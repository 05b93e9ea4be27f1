/**
 * The SAEs that were published for vision models, with the numbers of the tables they were published in. `published-saes.json` holds what
 * the tables say, an SAE a line; here it becomes entries and values of metrics.
 *
 * The numbers follow the tables' own definitions (`prisma/...` in the metric registry), which is why none of them appears under another name.
 */

import { createHash } from 'node:crypto'
import type { Architecture } from '../../engine/saes/sae.js'
import type { BaseModel } from '../base-models.js'
import type { MetricValueRecord } from '../metric-values.js'
import { layerOf, saeIdOf } from '../sae-id.js'
import type { NewSae, SaePositions, SaeProvenance } from '../saes.js'
import published from './published-saes.json' with { type: 'json' }

interface PublishedFile {
  readonly models: readonly {
    readonly id: string
    readonly name: string
    readonly repo: string
    readonly alias: string
    readonly dModel: number
  }[]
  readonly suites: Readonly<Record<string, Suite>>
  readonly saes: readonly PublishedSae[]
}

interface Suite {
  readonly title: string
  readonly positions?: SaePositions
  readonly trainedOn?: string
  /** Id of a data set. */
  readonly evaluatedOn?: string
  /** Numbers whose last digit was cut off and not rounded. */
  readonly truncated?: readonly NumberName[]
  readonly note?: string
}

interface PublishedSae {
  readonly suite: string
  readonly model: string
  readonly architecture: Architecture
  readonly hookPoint: string
  readonly hookPointOut?: string
  readonly k?: number
  readonly l1Coefficient?: number
  /** Where it is not the suite's. */
  readonly positions?: SaePositions
  /** Null of one that stands in a table without a link. */
  readonly repo: string | null
  readonly file?: string
  readonly revision?: string
  readonly note?: string
  readonly numbers?: Readonly<Partial<Record<NumberName, number>>>
}

const metricIds = {
  explainedVariance: 'prisma/explained-variance',
  l0: 'prisma/l0',
  clsL0: 'prisma/cls-l0',
  cosineSimilarity: 'prisma/cosine-similarity',
  reconstructionCosineSimilarity: 'prisma/reconstruction-cosine-similarity',
  ce: 'prisma/ce',
  reconstructionCe: 'prisma/reconstruction-ce',
  zeroAblationCe: 'prisma/zero-ablation-ce',
  ceRecovered: 'prisma/ce-recovered',
  aliveFeatures: 'prisma/alive-features',
} as const

type NumberName = keyof typeof metricIds

/** What the tables' numbers were measured on, as far as they say; nobody here has seen its pictures. */
export const imagenetValidation = { id: 'imagenet-1k-validation', name: 'ImageNet-1k, validation set', nItems: 50_000 } as const

const RELEASE = 'prisma'
const EXPANSION = { default: 64, 'tinyclip-vit-40m-32-text-19m-laion400m': 16 } as const
const HUB = 'https://huggingface.co'
/** Suites whose SAEs differ from others of the same site only in their L1 coefficient. */
const ALTERNATES = 'clip-b32-vanilla-all-patches-alternates'
/** Nats between the clean and the ablated cross entropy below which a share of them says little. */
const ILL_CONDITIONED_BELOW = 0.02

const { models, suites, saes } = published as unknown as PublishedFile

export const publishedModels: readonly BaseModel[] = models.map(({ id, name, repo, alias }) => ({
  ...{ id, name, repo, license: null },
  aliases: alias === repo ? [] : [alias],
}))

export const publishedSuites: Readonly<Record<string, { readonly title: string }>> = suites

export interface PublishedEntry {
  readonly sae: NewSae
  readonly metrics: readonly MetricValueRecord[]
}

export const publishedEntries: readonly PublishedEntry[] = saes.map((sae) => ({ sae: entryOf(sae), metrics: valuesOf(sae) }))

/** Changes with whatever the catalog is seeded with: the tables, and what is made of them. */
export const publishedHash: string = createHash('sha256')
  .update(JSON.stringify([publishedModels, publishedEntries, imagenetValidation]))
  .digest('hex')

function entryOf(sae: PublishedSae): NewSae {
  const { model, architecture, hookPoint, hookPointOut = hookPoint, k = null, l1Coefficient = null, suite } = sae
  const { trainedOn = null, positions = null, note } = suites[suite]!
  const { dModel } = models.find(({ id }) => id === model)!
  const expansion = model in EXPANSION ? EXPANSION[model as keyof typeof EXPANSION] : EXPANSION.default
  const facts = {
    ...{ modelId: model, architecture, hookPointIn: hookPoint, hookPointOut, k, l1Coefficient },
    ...{ width: dModel * expansion, dIn: dModel, dOut: dModel },
    positions: sae.positions ?? positions,
  }
  const notes = [note, sae.note].filter((text) => text !== undefined)
  return {
    id: saeIdOf(facts, { withL1: suite === ALTERNATES }),
    ...facts,
    ...{ release: RELEASE, suite, layer: layerOf(hookPoint), trainedOn },
    provenance: provenanceOf(sae),
    file: sae.file ?? null,
    license: null,
    note: notes.length > 0 ? notes.join(' ') : null,
    isPublished: true,
  }
}

function provenanceOf({ repo, revision, suite }: PublishedSae): SaeProvenance {
  if (repo === null) return { kind: 'table', name: suites[suite]!.title }
  return { kind: 'hub', repo, revision: revision ?? null, requestedRevision: null, endpoint: HUB }
}

function valuesOf({ suite, numbers = {} }: PublishedSae): MetricValueRecord[] {
  const { evaluatedOn, truncated = [] } = suites[suite]!
  return Object.entries(numbers).map(([key, value]) => {
    const name = key as NumberName
    // explained variance is of the training log, and not of the evaluation
    const dataset = evaluatedOn === undefined || name === 'explainedVariance' ? null : { id: evaluatedOn, hash: null }
    return {
      ...{ metric: metricIds[name], version: 1, value, source: 'published' as const, dataset },
      flags: [...(truncated.includes(name) ? ['truncated'] : []), ...(isIllConditioned(name, numbers) ? ['ill-conditioned'] : [])],
      n: dataset === null ? null : imagenetValidation.nItems,
      ...{ seed: null, dtype: null, backend: null, codeVersion: null, measuredAt: null },
    }
  })
}

/** A share of a difference of two numbers that hardly differ. */
function isIllConditioned(name: NumberName, { ce = 0, zeroAblationCe = Number.POSITIVE_INFINITY }: NonNullable<PublishedSae['numbers']>) {
  return name === 'ceRecovered' && zeroAblationCe - ce < ILL_CONDITIONED_BELOW
}

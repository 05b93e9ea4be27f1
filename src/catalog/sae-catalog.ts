/**
 * SAEs in Postgres.
 */

import { EngineError } from '../engine/errors.js'
import type { Prisma, PrismaClient } from '../generated/prisma/client.js'
import type { BaseModelCatalog } from './base-models.js'
import type { RecentFeatureSets } from './feature-catalog.js'
import { featureSetRecordOf } from './feature-set-rows.js'
import { metricRecordOf, metricsOfSaes } from './metric-rows.js'
import type { MetricRecord } from './metric-values.js'
import { RecentAnswers } from './recent-answers.js'
import { checkedSaeId, isSaeId } from './sae-id.js'
import { idsOfPage } from './sae-list.js'
import { rowOfAttached, rowOfSae, saeEntryOf, withoutDownload } from './sae-rows.js'
import type { AttachedFiles, NewSae, SaeCatalog, SaeDownload, SaeEntry, SaeWithMetrics } from './saes.js'

const withFiles = { files: { orderBy: { path: 'asc' } } } as const satisfies Prisma.SaeInclude
const withFeatureSets = {
  ...withFiles,
  featureSets: { orderBy: [{ measuredAt: 'desc' }, { id: 'desc' }] },
} as const satisfies Prisma.SaeInclude
const withMetrics = {
  ...withFeatureSets,
  metrics: { orderBy: [{ metric: 'asc' }, { source: 'asc' }, { measuredAt: 'desc' }, { circumstances: 'asc' }] },
} as const satisfies Prisma.SaeInclude

interface Parts {
  readonly prisma: PrismaClient
  readonly baseModels: BaseModelCatalog
  readonly featureSets: RecentFeatureSets
  readonly dataDir: string
}

export function saeCatalog({ prisma, baseModels, featureSets, dataDir }: Parts): SaeCatalog {
  const entryOf = (row: Prisma.SaeGetPayload<{ include: typeof withFiles }>) => saeEntryOf(row, dataDir)
  const entryWithMetricsOf = (
    row: Prisma.SaeGetPayload<{ include: typeof withFeatureSets }>,
    metrics: readonly MetricRecord[],
  ): SaeWithMetrics => ({
    ...entryOf(row),
    metrics,
    featureSets: row.featureSets.map(featureSetRecordOf),
  })
  const find = async (id: string) => {
    const row = await prisma.sae.findUnique({ where: { id }, include: withFiles })
    return row === null ? undefined : entryOf(row)
  }
  const byId = new RecentAnswers(find)

  return {
    async list(request) {
      const { ids, cursors, hasMore, totalCount } = await idsOfPage(prisma, request)
      const [rows, metrics] = await Promise.all([
        // relations in statements of their own: joined, they take PostgreSQL longer
        prisma.sae.findMany({ where: { id: { in: [...ids] } }, include: withFeatureSets, relationLoadStrategy: 'query' }),
        metricsOfSaes(prisma, ids),
      ])
      const found = new Map(rows.map((row) => [row.id, entryWithMetricsOf(row, metrics.get(row.id)!)]))
      // one that was removed between the two statements is not shown
      const shown = ids.flatMap((id, index) => {
        const entry = found.get(id)
        return entry ? [{ entry, cursor: cursors[index]! }] : []
      })
      return {
        items: shown.map(({ entry }) => entry),
        cursors: shown.map(({ cursor }) => cursor),
        nextCursor: hasMore ? cursors.at(-1)! : null,
        totalCount,
      }
    },

    async get(id) {
      return isSaeId(id) ? byId.get(id) : undefined
    },

    async getWithMetrics(id) {
      if (!isSaeId(id)) return undefined
      const row = await prisma.sae.findUnique({ where: { id }, include: withMetrics })
      if (row === null) return undefined
      const entry = entryWithMetricsOf(row, row.metrics.map(metricRecordOf))
      featureSets.remember(id, entry.featureSets)
      return entry
    },

    async ids() {
      return (await prisma.sae.findMany({ select: { id: true }, orderBy: { id: 'asc' } })).map(({ id }) => id)
    },

    async ofRepository(repo) {
      const rows = await prisma.sae.findMany({
        where: { sourceKind: 'hub', source: { equals: repo, mode: 'insensitive' } },
        include: withFiles,
        orderBy: { id: 'asc' },
      })
      return rows.map(entryOf)
    },

    async create(sae) {
      checkedSaeId(sae.id, sae.modelId)
      await baseModels.ensure(sae.modelId)
      // Of two that make the same entry at once, one makes the row; both compare with what is there.
      const isMade = await prisma.$transaction(async (transaction) => {
        const { count } = await transaction.sae.createMany({ data: [rowOfSae(sae, dataDir)], skipDuplicates: true })
        if (count > 0 && sae.download) await transaction.saeFile.createMany({ data: fileRows(sae.id, sae.download) })
        return count > 0
      })
      byId.forget(sae.id)
      const existing = (await find(sae.id))!
      if (!isMade) requireSame(existing, sae)
      return existing
    },

    async attachFiles(id, attached) {
      const existing = await find(id)
      if (!existing) throw new Error(`Invariant violated: files are attached to ${id}, which is not in the catalog`)
      requireAttachable(existing, attached)
      try {
        await prisma.$transaction(async (transaction) => {
          await transaction.saeFile.deleteMany({ where: { saeId: id } })
          await transaction.saeFile.createMany({ data: fileRows(id, attached) })
          await transaction.sae.update({ where: { id }, data: rowOfAttached(existing, attached, dataDir) })
        })
      } finally {
        byId.forget(id)
      }
      return (await find(id))!
    },

    async remove(id) {
      const existing = await find(id)
      if (!existing) return false
      try {
        if (existing.isPublished) await detach(prisma, id)
        else await prisma.sae.deleteMany({ where: { id } })
      } finally {
        byId.forget(id)
        featureSets.forget(id)
      }
      return true
    },
  }
}

/** A published entry stays, with its published numbers; what was found out here goes. */
async function detach(prisma: PrismaClient, id: string): Promise<void> {
  const ofSae = { where: { saeId: id } }
  await prisma.$transaction([
    prisma.saeFile.deleteMany(ofSae),
    prisma.featureSet.deleteMany(ofSae),
    prisma.explanation.deleteMany(ofSae),
    prisma.metricValue.deleteMany({ where: { saeId: id, source: 'measured' } }),
    prisma.sae.updateMany({ where: { id }, data: withoutDownload }),
  ])
}

const fileRows = (saeId: string, { files }: SaeDownload) =>
  files.map(({ path, bytes, sha256 }) => ({ saeId, path, bytes: BigInt(bytes), sha256 }))

/** @throws SAE_CONFLICT when the entry that is there is of another SAE */
function requireSame(existing: SaeEntry, given: NewSae): void {
  const here = existing.download?.weightsSha256
  const theirs = given.download?.weightsSha256
  if (here === theirs || (here !== undefined && theirs === undefined)) return
  throw conflict(
    existing.id,
    here === undefined
      ? 'it is an entry without files'
      : `it is an SAE with other weights (sha256 ${here.slice(0, 12)}, these have ${theirs!.slice(0, 12)})`,
  )
}

function requireAttachable(existing: SaeEntry, { weightsSha256, description }: AttachedFiles): void {
  const { id, download, hookPointIn } = existing
  if (download !== null && download.weightsSha256 !== weightsSha256) {
    throw conflict(id, `it has other weights (sha256 ${download.weightsSha256.slice(0, 12)}, these have ${weightsSha256.slice(0, 12)})`)
  }
  const { hookPoint } = description.config
  if (hookPoint !== hookPointIn) throw conflict(id, `it reads ${hookPointIn}, and the files are of an SAE that reads ${hookPoint}`)
}

const conflict = (id: string, problem: string) =>
  new EngineError('SAE_CONFLICT', { id, problem, instead: `Choose another with --id, or remove it first (refract remove ${id}).` })

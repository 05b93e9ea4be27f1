/**
 * Puts what was published into the catalog, when it is not there yet or was put there by another version. An entry keeps the files that it
 * got since, and what was measured of it.
 */

import type { Prisma, PrismaClient, Sae } from '../../generated/prisma/client.js'
import { headlinesOf, metricRecordOf, rowOfMetric } from '../metric-rows.js'
import { rowOfSae } from '../sae-rows.js'
import { imagenetValidation, publishedEntries, publishedHash, publishedModels } from './published-saes.js'

const NAME = 'published-saes'
/** Of an advisory lock: servers that start at the same time seed one after the other. */
const LOCK_ID = 7_270_738

/** One statement when there is nothing to do. @returns whether something was done */
export async function seedCatalog(prisma: PrismaClient): Promise<boolean> {
  if (await isSeeded(prisma)) return false
  await prisma.$transaction(
    async (transaction) => {
      await transaction.$executeRaw`select pg_advisory_xact_lock(${LOCK_ID})`
      if (await isSeeded(transaction)) return
      await seed(transaction)
      await transaction.seed.upsert({ where: { name: NAME }, create: { name: NAME, hash: publishedHash }, update: { hash: publishedHash } })
    },
    { timeout: 60_000 },
  )
  return true
}

async function isSeeded(prisma: Prisma.TransactionClient): Promise<boolean> {
  return (await prisma.seed.findUnique({ where: { name: NAME } }))?.hash === publishedHash
}

async function seed(prisma: Prisma.TransactionClient): Promise<void> {
  const models = publishedModels.map((model) => ({ ...model, aliases: [...model.aliases] }))
  await prisma.baseModel.createMany({ data: models, skipDuplicates: true })
  await prisma.dataset.createMany({ data: [{ ...imagenetValidation, classNames: [] }], skipDuplicates: true })

  const ids = publishedEntries.map(({ sae }) => sae.id)
  const rows = publishedEntries.map(({ sae, metrics }) => ({ ...rowOfSae(sae, ''), ...headlinesOf(metrics) }))
  const there = await prisma.sae.findMany({ where: { id: { in: ids } } })
  await prisma.sae.createMany({ data: rows, skipDuplicates: true })
  await prisma.metricValue.deleteMany({ where: { saeId: { in: ids }, source: 'published' } })
  await prisma.metricValue.createMany({
    data: publishedEntries.flatMap(({ sae, metrics }) => metrics.map((value) => rowOfMetric(sae.id, value))),
  })
  if (there.length === 0) return

  const values = await prisma.metricValue.findMany({ where: { saeId: { in: ids } } })
  for (const existing of there) {
    const { id } = existing
    const headlines = headlinesOf(values.filter(({ saeId }) => saeId === id).map(metricRecordOf))
    // what is downloaded, its files know better
    const wanted = existing.folder === null ? { ...rows.find((row) => row.id === id), ...headlines } : headlines
    const isSame = Object.entries(wanted).every(([column, value]) => existing[column as keyof Sae] === value)
    if (!isSame) await prisma.sae.update({ where: { id }, data: wanted })
  }
}

/**
 * Values of metrics in Postgres, and the numbers by which SAEs are filtered and sorted, which follow from them.
 */

import type { PrismaClient } from '../generated/prisma/client.js'
import { headlinesOf, metricRecordOf, rowOfMetric } from './metric-rows.js'
import type { MetricCatalog } from './metric-values.js'

export function metricCatalog(prisma: PrismaClient): MetricCatalog {
  return {
    async put(saeId, values) {
      await prisma.$transaction(async (transaction) => {
        // two at once would each not see the other's values
        await transaction.$queryRaw`select id from saes where id = ${saeId} for update`
        const rows = values.map((value) => rowOfMetric(saeId, value))
        const replaced = rows.map(({ metric, circumstances }) => ({ metric, circumstances }))
        await transaction.metricValue.deleteMany({ where: { saeId, OR: replaced } })
        await transaction.metricValue.createMany({ data: rows })
        const all = (await transaction.metricValue.findMany({ where: { saeId } })).map(metricRecordOf)
        await transaction.sae.update({ where: { id: saeId }, data: headlinesOf(all) })
      })
    },

    async list({ saeId, metric }) {
      const rows = await prisma.metricValue.findMany({
        where: { saeId, ...(metric !== undefined && { metric }) },
        orderBy: [{ metric: 'asc' }, { source: 'asc' }, { measuredAt: 'desc' }, { circumstances: 'asc' }],
      })
      return rows.map(metricRecordOf)
    },
  }
}

/** Runs that are kept: what was asked, and of which weights. */

import type { Prisma, PrismaClient, Run } from '../generated/prisma/client.js'
import { decodeTimeCursor, olderThan, pageOf, timeKey } from './cursors.js'
import type { Page, PageRequest } from './page.js'
import { storableJson } from './stored-values.js'

/** Hex sha256. */
export interface RunWeights {
  readonly model: string
  /** What was done to the weights when they were loaded. */
  readonly processing: readonly string[]
  readonly saes: Readonly<Record<string, string>>
}

export interface RunRecord {
  /** Made from the content. */
  readonly id: string
  readonly kind: string
  readonly modelId: string
  readonly input: unknown
  readonly weights: RunWeights
  readonly codeVersion: string
  readonly createdAt: Date
}

export interface RunCatalog {
  /** Newest first. */
  list(request: PageRequest & { readonly kind?: string; readonly model?: string }): Promise<Page<RunRecord>>
  get(id: string): Promise<RunRecord | undefined>
  /** Of these runs those whose model and SAEs are here with the weights that they were saved with. In one statement. */
  current(ids: readonly string[]): Promise<ReadonlySet<string>>
  /** The same run twice is one. */
  create(run: Omit<RunRecord, 'createdAt'>): Promise<RunRecord>
  remove(id: string): Promise<boolean>
}

const LIST = 'runs'
const RUN_ID = /^run-[0-9a-f]{32}$/

export function runCatalog(prisma: PrismaClient): RunCatalog {
  return {
    async list({ limit, cursor, kind, model }) {
      const filter = { ...(kind !== undefined && { kind }), ...(model !== undefined && { modelId: model }) }
      const [rows, totalCount] = await Promise.all([
        prisma.run.findMany({
          where: { ...filter, ...(cursor !== undefined && olderThan(decodeTimeCursor(LIST, cursor))) },
          orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
          take: limit + 1,
        }),
        prisma.run.count({ where: filter }),
      ])
      return pageOf(rows, { limit, totalCount, list: LIST, key: timeKey, item: recordOf })
    },

    async get(id) {
      const row = RUN_ID.test(id) ? await prisma.run.findUnique({ where: { id } }) : null
      return row === null ? undefined : recordOf(row)
    },

    async current(ids) {
      if (ids.length === 0) return new Set()
      const rows = await prisma.$queryRaw<{ id: string }[]>`
        select run.id from runs run join models model on model.id = run.model_id
        where run.id = any(${[...ids]})
          and run.weights->>'model' = model.weights_sha256 and run.weights->'processing' = to_jsonb(model.processing)
          and not exists (
            select from jsonb_each_text(run.weights->'saes') saved left join saes sae on sae.id = saved.key
            where sae.weights_sha256 is distinct from saved.value)`
      return new Set(rows.map(({ id }) => id))
    },

    async create({ input, weights, ...run }) {
      const data = { ...run, input: storableJson(input), weights: weights as unknown as Prisma.InputJsonValue }
      await prisma.run.createMany({ data: [data], skipDuplicates: true })
      return recordOf(await prisma.run.findUniqueOrThrow({ where: { id: run.id } }))
    },

    async remove(id) {
      return (await prisma.run.deleteMany({ where: { id } })).count > 0
    },
  }
}

const recordOf = ({ weights, ...row }: Run): RunRecord => ({ ...row, weights: weights as unknown as RunWeights })

/** Runs that are kept: what was asked, and of which weights. */

import type { Prisma, PrismaClient, Run } from '../generated/prisma/client.js'
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
  get(id: string): Promise<RunRecord | undefined>
  /** The same run twice is one. */
  create(run: Omit<RunRecord, 'createdAt'>): Promise<RunRecord>
}

const RUN_ID = /^run-[0-9a-f]{32}$/

export function runCatalog(prisma: PrismaClient): RunCatalog {
  return {
    async get(id) {
      const row = RUN_ID.test(id) ? await prisma.run.findUnique({ where: { id } }) : null
      return row === null ? undefined : recordOf(row)
    },

    async create({ input, weights, ...run }) {
      const data = { ...run, input: storableJson(input), weights: weights as unknown as Prisma.InputJsonValue }
      await prisma.run.createMany({ data: [data], skipDuplicates: true })
      return recordOf(await prisma.run.findUniqueOrThrow({ where: { id: run.id } }))
    },
  }
}

const recordOf = ({ weights, ...row }: Run): RunRecord => ({ ...row, weights: weights as unknown as RunWeights })

/**
 * Directions at a hook point of a model that are kept under a name, to be added, projected out or searched by.
 */

import { isDeepStrictEqual } from 'node:util'
import { EngineError } from '../engine/errors.js'
import type { PrismaClient, Vector } from '../generated/prisma/client.js'
import type { BaseModelCatalog } from './base-models.js'
import { decodeCursor, pageOf } from './cursors.js'
import type { Page, PageRequest } from './page.js'
import { storableText } from './stored-values.js'

const LIST = 'vectors'

export interface VectorRecord {
  /** The slug; stable for ever. */
  readonly id: string
  readonly modelId: string
  readonly hookPoint: string
  /** float32 */
  readonly values: Float32Array
  /** How it was made. */
  readonly description: string | null
  readonly createdAt: Date
}

export interface VectorCatalog {
  /** In order of id. */
  list(request: PageRequest & { readonly model?: string; readonly hookPoint?: string }): Promise<Page<VectorRecord>>
  /** Of all, for "did you mean". */
  ids(): Promise<readonly string[]>
  get(id: string): Promise<VectorRecord | undefined>
  /** The same vector twice under an id is one. @throws BASE_MODEL_UNKNOWN; INPUT_INVALID when the id is another's */
  create(vector: Omit<VectorRecord, 'createdAt'>): Promise<VectorRecord>
  remove(id: string): Promise<boolean>
}

export function vectorCatalog(prisma: PrismaClient, baseModels: BaseModelCatalog): VectorCatalog {
  return {
    async list({ limit, cursor, model, hookPoint }) {
      const [after] = cursor === undefined ? [] : decodeCursor(LIST, cursor, 1)
      const filter = { ...(model !== undefined && { modelId: model }), ...(hookPoint !== undefined && { hookPoint }) }
      const [rows, totalCount] = await Promise.all([
        prisma.vector.findMany({
          where: { ...filter, ...(after !== undefined && { id: { gt: after } }) },
          orderBy: { id: 'asc' },
          take: limit + 1,
        }),
        prisma.vector.count({ where: filter }),
      ])
      return pageOf(rows, { limit, totalCount, list: LIST, key: ({ id }) => [id], item: recordOf })
    },

    async ids() {
      return (await prisma.vector.findMany({ select: { id: true }, orderBy: { id: 'asc' } })).map(({ id }) => id)
    },

    async get(id) {
      const row = await prisma.vector.findUnique({ where: { id } })
      return row === null ? undefined : recordOf(row)
    },

    async create({ id, modelId, hookPoint, values, description }) {
      await baseModels.ensure(modelId)
      const data = {
        ...{ id, modelId, hookPoint },
        values: Array.from(values),
        description: description === null ? null : storableText(description),
      }
      const { count } = await prisma.vector.createMany({ data: [data], skipDuplicates: true })
      const record = recordOf(await prisma.vector.findUniqueOrThrow({ where: { id } }))
      const isSame = record.modelId === modelId && record.hookPoint === hookPoint && isDeepStrictEqual(record.values, values)
      if (count === 0 && !isSame)
        throw new EngineError('INPUT_INVALID', { path: 'id', problem: `there is a vector "${id}" already. Choose another id.` })
      return record
    },

    async remove(id) {
      return (await prisma.vector.deleteMany({ where: { id } })).count > 0
    },
  }
}

const recordOf = ({ values, ...row }: Vector): VectorRecord => ({ ...row, values: Float32Array.from(values) })

/**
 * Which SAEs a list shows, and in which order: filters, sorts and pages in SQL.
 */

import { EngineError } from '../engine/errors.js'
import { Prisma, type PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, encodeCursor } from './cursors.js'
import { searchWords } from './sae-rows.js'
import type { SaeFilter, SaeListRequest, SaeSort } from './saes.js'
import { likeLiteral } from './stored-values.js'

/** What is sorted by, and the type that a cursor's value is read as. */
const sortColumns: Record<SaeSort, { readonly column: Prisma.Sql; readonly type: Prisma.Sql }> = {
  id: { column: Prisma.sql`s.id`, type: Prisma.sql`text` },
  layer: { column: Prisma.sql`s.layer`, type: Prisma.sql`integer` },
  width: { column: Prisma.sql`s.width`, type: Prisma.sql`integer` },
  explainedVariance: { column: Prisma.sql`s.explained_variance`, type: Prisma.sql`double precision` },
  l0: { column: Prisma.sql`s.l0`, type: Prisma.sql`double precision` },
  ceRecovered: { column: Prisma.sql`s.ce_recovered`, type: Prisma.sql`double precision` },
  aliveFeatures: { column: Prisma.sql`s.alive_features`, type: Prisma.sql`double precision` },
  createdAt: { column: Prisma.sql`s.created_at`, type: Prisma.sql`timestamptz` },
}

export interface SaeIdPage {
  /** In order. */
  readonly ids: readonly string[]
  readonly cursors: readonly string[]
  readonly hasMore: boolean
  readonly totalCount: number
}

/** Which SAEs are on this page? One statement. @throws CURSOR_INVALID */
export async function idsOfPage(prisma: PrismaClient, request: SaeListRequest): Promise<SaeIdPage> {
  const { limit, cursor, sort = 'id', order = 'asc' } = request
  const { column, type } = sortColumns[sort]
  const list = `saes ${sort} ${order}`
  const after = cursor === undefined ? undefined : afterKey(list, cursor, sort)
  const direction = order === 'asc' ? Prisma.sql`asc` : Prisma.sql`desc`
  const conditions = conditionsOf(request)
  const matching = conditions.length > 0 ? Prisma.join(conditions, ' and ') : Prisma.sql`true`
  const [row] = await prisma.$queryRaw<[{ total: number; page: [id: string, key: string | null][] }]>`
    select
      (select count(*)::int from saes s where ${matching}) as total,
      (
        select coalesce(json_agg(json_build_array(id, key)), '[]')
        from (
          select s.id, ${column}::text as key
          from saes s
          where ${matching} and ${after ? isAfter(after, { column, type, order }) : Prisma.sql`true`}
          order by ${column} ${direction} nulls last, s.id
          limit ${limit + 1}
        ) as page
      ) as page`
  const shown = row.page.slice(0, limit)
  return {
    ids: shown.map(([id]) => id),
    cursors: shown.map(([id, key]) => encodeCursor(list, [key === null ? 'null' : 'value', key ?? '', id])),
    hasMore: row.page.length > limit,
    totalCount: row.total,
  }
}

interface AfterKey {
  /** Null: what is not known, which comes last in either order. */
  readonly value: string | null
  readonly id: string
}

function isAfter({ value, id }: AfterKey, { column, type, order }: { column: Prisma.Sql; type: Prisma.Sql; order: 'asc' | 'desc' }) {
  if (value === null) return Prisma.sql`(${column} is null and s.id > ${id})`
  const beyond = order === 'asc' ? Prisma.sql`>` : Prisma.sql`<`
  const key = Prisma.sql`${value}::text::${type}`
  return Prisma.sql`(${column} ${beyond} ${key} or (${column} = ${key} and s.id > ${id}) or ${column} is null)`
}

function afterKey(list: string, cursor: string, sort: SaeSort): AfterKey {
  const [kind = '', value = '', id = ''] = decodeCursor(list, cursor, 3)
  if (kind === 'null') return { value: null, id }
  const isReadable =
    sort === 'id' || (sort === 'createdAt' ? !Number.isNaN(Date.parse(value)) : value !== '' && Number.isFinite(Number(value)))
  if (kind !== 'value' || !isReadable) throw new EngineError('CURSOR_INVALID', { cursor })
  return { value, id }
}

function conditionsOf(filter: SaeFilter): Prisma.Sql[] {
  const { model, layer, hookPoint, architecture, isTranscoder, trainedOn, suite, release, status, minExplainedVariance, maxL0, text } =
    filter
  const conditions: Prisma.Sql[] = []
  const add = <T>(given: T | undefined, condition: (value: T) => Prisma.Sql) => {
    if (given !== undefined) conditions.push(condition(given))
  }
  add(model, (value) => Prisma.sql`s.model_id = ${value}`)
  add(layer, (value) => Prisma.sql`s.layer = ${value}`)
  add(hookPoint, (value) => {
    const pattern = hookPointPattern(value)
    return Prisma.sql`(s.hook_point_in ~ ${pattern} or s.hook_point_out ~ ${pattern})`
  })
  add(architecture, (value) => Prisma.sql`s.architecture = ${value}`)
  add(isTranscoder, (value) => Prisma.sql`(s.hook_point_in <> s.hook_point_out) = ${value}`)
  add(trainedOn, (value) => Prisma.sql`(s.positions::text = ${value} or s.trained_on ilike ${`%${likeLiteral(value)}%`})`)
  add(suite, (value) => Prisma.sql`s.suite = ${value}`)
  add(release, (value) => Prisma.sql`s.release = ${value}`)
  add(status, (value) => Prisma.sql`(s.folder is not null) = ${value === 'downloaded'}`)
  add(minExplainedVariance, (value) => Prisma.sql`s.explained_variance >= ${value}`)
  add(maxL0, (value) => Prisma.sql`s.l0 <= ${value}`)
  for (const word of searchWords(text ?? '')) conditions.push(Prisma.sql`s.words like ${`% ${likeLiteral(word)}%`}`)
  if (text !== undefined && searchWords(text).length === 0) conditions.push(Prisma.sql`false`)
  return conditions
}

/** `*` stands for anything within one dot-separated part. */
function hookPointPattern(pattern: string): string {
  const parts = pattern.split('*').map((part) => part.replace(/[.^$()[\]{}|+?\\]/g, '\\$&'))
  return `^${parts.join('[^.]*')}$`
}

/**
 * What somebody, or some method, says that a feature stands for.
 */

import { randomUUID } from 'node:crypto'
import { EngineError } from '../engine/errors.js'
import { Prisma, type PrismaClient } from '../generated/prisma/client.js'
import { decodeCursor, pageOf } from './cursors.js'
import type { Page, PageRequest } from './page.js'
import { storableText } from './stored-values.js'

export interface Explanation {
  readonly id: string
  readonly saeId: string
  /** The feature. */
  readonly index: number
  readonly text: string
  readonly author: string
  /** `human`, or how it was made. */
  readonly method: string
  /** How well it predicts the feature, as far as its method measures that. */
  readonly score: number | null
  readonly createdAt: Date
}

export interface ExplanationPageRequest extends PageRequest {
  /** As in `search`; those that fit best come first. Without it: newest first. */
  readonly text?: string
  readonly modelId?: string
  readonly layer?: number
  readonly saeId?: string
  readonly index?: number
  readonly author?: string
  readonly method?: string
}

export interface ExplanationCatalog {
  /** With an id of the caller's, what is there already under it stays and is returned. */
  add(explanation: Omit<Explanation, 'id' | 'createdAt'> & { readonly id?: string }): Promise<Explanation>
  get(id: string): Promise<Explanation | undefined>
  /** @throws CURSOR_INVALID */
  page(request: ExplanationPageRequest): Promise<Page<Explanation>>
  /** Oldest first. */
  list(saeId: string, indices: readonly number[]): Promise<readonly Explanation[]>
  /**
   * The explanations that have all the words, in any form of theirs ("dogs" finds "dog"); `-word` excludes one, `"two words"` are a phrase.
   * Best first.
   */
  search(request: { readonly text: string; readonly saeId?: string; readonly limit: number }): Promise<readonly Explanation[]>
  remove(id: string): Promise<boolean>
}

/** The index `explanations_text_idx` is over this. */
const words = Prisma.sql`to_tsvector('english', text)`

const LIST = 'explanations'
const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/

/** Which explanations of an SAE match? For a condition in another statement. */
export function matchingExplanations(saeId: string, text: string): Prisma.Sql {
  return Prisma.sql`select index from explanations where sae_id = ${saeId} and ${words} @@ websearch_to_tsquery('english', ${text})`
}

/** Which explanations are there, and how high does each stand: by how well it fits the words or, without words, by its age. */
function rankedExplanations({ text, modelId, layer, saeId, index, author, method }: Omit<ExplanationPageRequest, 'limit' | 'cursor'>) {
  const query = text === undefined ? undefined : Prisma.sql`websearch_to_tsquery('english', ${storableText(text)})`
  const conditions = [
    ...(query ? [Prisma.sql`${words} @@ ${query}`] : []),
    ...(saeId === undefined ? [] : [Prisma.sql`e.sae_id = ${saeId}`]),
    ...(index === undefined ? [] : [Prisma.sql`e.index = ${index}`]),
    ...(author === undefined ? [] : [Prisma.sql`e.author = ${author}`]),
    ...(method === undefined ? [] : [Prisma.sql`e.method = ${method}`]),
    ...(modelId === undefined ? [] : [Prisma.sql`s.model_id = ${modelId}`]),
    ...(layer === undefined ? [] : [Prisma.sql`s.layer = ${layer}`]),
  ]
  return Prisma.sql`
    select
      e.id, e.sae_id as "saeId", e.index, e.text, e.author, e.method, e.score, e.created_at as "createdAt",
      ${query ? Prisma.sql`ts_rank(${words}, ${query})::float8` : Prisma.sql`extract(epoch from e.created_at)::float8`} as rank
    from explanations e join saes s on s.id = e.sae_id
    ${conditions.length > 0 ? Prisma.sql`where ${Prisma.join(conditions, ' and ')}` : Prisma.empty}`
}

export function explanationCatalog(prisma: PrismaClient): ExplanationCatalog {
  return {
    async add({ id = randomUUID(), text, author, method, ...about }) {
      const data = { ...about, id, text: storableText(text), author: storableText(author), method: storableText(method) }
      await prisma.explanation.createMany({ data: [data], skipDuplicates: true })
      return prisma.explanation.findUniqueOrThrow({ where: { id } })
    },

    async get(id) {
      return (await prisma.explanation.findUnique({ where: { id } })) ?? undefined
    },

    async page({ limit, cursor, ...filter }) {
      const after = cursor === undefined ? undefined : decodeCursor(LIST, cursor, 2)
      if (after && !NUMBER.test(after[0]!)) throw new EngineError('CURSOR_INVALID', { cursor: cursor! })
      const found = rankedExplanations(filter)
      const [rows, counted] = await Promise.all([
        prisma.$queryRaw<(Explanation & { rank: number })[]>`
          select * from (${found}) as found
          ${after ? Prisma.sql`where (rank, id) < (${Number(after[0])}::float8, ${after[1]!})` : Prisma.empty}
          order by rank desc, id desc
          limit ${limit + 1}`,
        prisma.$queryRaw<{ n: number }[]>`select count(*)::int as n from (${found}) as found`,
      ])
      return pageOf(rows, {
        ...{ limit, totalCount: counted[0]!.n, list: LIST },
        key: ({ rank, id }) => [String(rank), id],
        item: ({ rank: _, ...explanation }) => explanation,
      })
    },

    list: (saeId, indices) =>
      prisma.explanation.findMany({
        where: { saeId, index: { in: [...indices] } },
        orderBy: [{ index: 'asc' }, { createdAt: 'asc' }, { id: 'asc' }],
      }),

    search: ({ text, saeId, limit }) => prisma.$queryRaw<Explanation[]>`
      select id, sae_id as "saeId", index, text, author, method, score, created_at as "createdAt"
      from explanations, websearch_to_tsquery('english', ${storableText(text)}) as query
      where ${words} @@ query ${saeId === undefined ? Prisma.empty : Prisma.sql`and sae_id = ${saeId}`}
      order by ts_rank(${words}, query) desc, sae_id, index, id
      limit ${limit}`,

    async remove(id) {
      return (await prisma.explanation.deleteMany({ where: { id } })).count > 0
    },
  }
}

/**
 * What somebody, or some method, says that a feature stands for.
 */

import { Prisma, type PrismaClient } from '../generated/prisma/client.js'
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

export interface ExplanationCatalog {
  add(explanation: Omit<Explanation, 'id' | 'createdAt'>): Promise<Explanation>
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

/** Which explanations of an SAE match? For a condition in another statement. */
export function matchingExplanations(saeId: string, text: string): Prisma.Sql {
  return Prisma.sql`select index from explanations where sae_id = ${saeId} and ${words} @@ websearch_to_tsquery('english', ${text})`
}

export function explanationCatalog(prisma: PrismaClient): ExplanationCatalog {
  return {
    add: ({ text, author, method, ...about }) =>
      prisma.explanation.create({
        data: { ...about, text: storableText(text), author: storableText(author), method: storableText(method) },
      }),

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

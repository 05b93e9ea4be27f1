/**
 * Errors as GraphQL answers them: the same code, status and problems as over REST, in `extensions`.
 */

import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import type { DescribedError } from './types.js'

/** @param describe  an error as REST would answer it */
export function formatErrors(errors: readonly unknown[], describe: (error: unknown) => DescribedError) {
  const described = errors.flatMap(unpack).map((error) => {
    const cause = causeOf(error)
    const known = cause === undefined ? undefined : describe(cause)
    return { error, known }
  })
  const formatted = described.map(({ error, known }): GraphQLFormattedError => {
    const where =
      error instanceof GraphQLError
        ? { ...(error.locations && { locations: error.locations }), ...(error.path && { path: error.path }) }
        : {}
    if (!known) return { message: (error as Error).message, ...where, extensions: invalid }
    const { detail, instance: _, ...extensions } = known.problem as DescribedError['problem'] & { instance?: string }
    return { message: detail, ...where, extensions }
  })
  return { formatted, known: described.flatMap(({ error, known }) => (known ? [{ ...known, error }] : [])) }
}

/** Of what GraphQL itself refuses. */
const invalid = { type: '/errors/GRAPHQL_INVALID', title: 'Graphql invalid', status: 400, code: 'GRAPHQL_INVALID' }

/** What a resolver threw; undefined where GraphQL itself refuses (a wrong variable is one of its errors inside another). */
function causeOf(error: unknown): unknown {
  if (!(error instanceof GraphQLError)) return error
  return error.originalError ? causeOf(error.originalError) : undefined
}

/** mercurius wraps the errors of parsing and validation in one of its own. */
function unpack(error: unknown): unknown[] {
  const original = error instanceof GraphQLError ? error.originalError : error
  const inner = typeof original === 'object' && original !== null && 'errors' in original ? original.errors : undefined
  return Array.isArray(inner) && inner.length > 0 ? inner.map(asGraphqlError) : [error]
}

/** Those of the body's own schema are plain objects. */
function asGraphqlError(error: unknown): GraphQLError {
  if (error instanceof GraphQLError) return error
  const message = typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error)
  return new GraphQLError(message)
}

/**
 * What a GraphQL document may be, checked before anything walks it: its size, its nesting, its depth. A depth limit as a validation
 * rule would come too late (the parser itself is recursive) and would drown in the complaints of the other rules.
 */

import { type DocumentNode, type FragmentDefinitionNode, GraphQLError, Kind, parse, type SelectionSetNode } from 'graphql'
import { RequestError } from '../operations/errors.js'
import { fixedLimits } from '../operations/limits.js'

/** Deeper than any sensible document, and shallow enough for the parser. */
const MAX_NESTING = 200
const MAX_TOKENS = 20_000

/** @throws LIMIT_EXCEEDED, GraphQLError when it does not parse */
export function checkDocument(text: string): void {
  const { graphqlCharacters, graphqlDepth } = fixedLimits
  if (text.length > graphqlCharacters) {
    throw exceeded('graphqlCharacters', {
      given: text.length,
      maximum: graphqlCharacters,
      what: 'characters of the document',
      instead: 'Send values (vectors, pictures) as variables.',
    })
  }
  const nesting = nestingOf(text)
  const document = nesting > MAX_NESTING ? undefined : parse(text, { maxTokens: MAX_TOKENS })
  const depth = document ? depthOf(document) : nesting
  if (depth > graphqlDepth) {
    const instead = 'Ask for less at a time; node(id) gets from an id to the rest.'
    throw exceeded('graphqlDepth', { given: depth, maximum: graphqlDepth, what: 'depth of the query', instead })
  }
}

function exceeded(limit: 'graphqlCharacters' | 'graphqlDepth', about: { given: number; maximum: number; what: string; instead: string }) {
  return new RequestError('LIMIT_EXCEEDED', { limit, ...about })
}

/** How deep brackets nest; those in strings and comments count too, which only errs on the safe side far above the real limit. */
function nestingOf(text: string): number {
  let deepest = 0
  let depth = 0
  for (const character of text) {
    if (character === '{' || character === '[' || character === '(') deepest = Math.max(deepest, ++depth)
    else if (character === '}' || character === ']' || character === ')') depth--
  }
  return deepest
}

/** Levels of selection sets, fragments followed. */
function depthOf({ definitions }: DocumentNode): number {
  const fragments = new Map(
    definitions.flatMap((node) => (node.kind === Kind.FRAGMENT_DEFINITION ? [[node.name.value, node] as const] : [])),
  )
  const known = new Map<FragmentDefinitionNode, number>()
  const depthOfFragment = (fragment: FragmentDefinitionNode): number => {
    const depth = known.get(fragment)
    if (depth !== undefined) return depth
    // a fragment that contains itself is refused by validation; here it only must not go round for ever
    known.set(fragment, 0)
    const found = depthOfSelections(fragment.selectionSet)
    known.set(fragment, found)
    return found
  }
  const depthOfSelections = ({ selections }: SelectionSetNode): number =>
    Math.max(
      0,
      ...selections.map((node) => {
        if (node.kind === Kind.FIELD) return 1 + (node.selectionSet ? depthOfSelections(node.selectionSet) : 0)
        if (node.kind === Kind.INLINE_FRAGMENT) return depthOfSelections(node.selectionSet)
        const fragment = fragments.get(node.name.value)
        return fragment ? depthOfFragment(fragment) : 0
      }),
    )
  return Math.max(0, ...definitions.map((node) => (node.kind === Kind.OPERATION_DEFINITION ? depthOfSelections(node.selectionSet) : 0)))
}

/** What a request body must have, so that the error says it in our words. @throws GraphQLError, LIMIT_EXCEEDED */
export function checkRequest(body: unknown): void {
  if (Array.isArray(body)) throw new GraphQLError('Several queries in one request are not taken; send them one by one.')
  const query = typeof body === 'object' && body !== null && 'query' in body ? body.query : undefined
  if (typeof query !== 'string' || query === '') throw new GraphQLError('The request needs "query": the text of a GraphQL document.')
  checkDocument(query)
}

/**
 * Subscriptions over WebSocket at /graphql, in the protocol `graphql-transport-ws`. The door was opened by the hooks of any request:
 * who calls is known, and a page of elsewhere was turned away.
 * @see https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
 */

import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { GraphQLError, type GraphQLFormattedError, type GraphQLSchema, getOperationAST, parse } from 'graphql'
import { makeHandler } from 'graphql-ws/use/@fastify/websocket'
import { checkDocument } from './check-document.js'
import type { GraphqlContext } from './types.js'

const MAX_MESSAGE_BYTES = 2 ** 20
/** Of one connection; each asks the database whenever its job changes. */
const MAX_SUBSCRIPTIONS = 20

export interface SubscriptionParts {
  readonly schema: GraphQLSchema
  readonly contextOf: (request: FastifyRequest) => GraphqlContext
  /** Errors as the other door of GraphQL writes them. */
  readonly format: (errors: readonly unknown[], request: FastifyRequest) => readonly GraphQLFormattedError[]
}

/** To be called before the route exists that it makes a WebSocket of. */
export async function subscriptions(app: FastifyInstance, { schema, contextOf, format }: SubscriptionParts): Promise<void> {
  const handler = makeHandler({
    schema,
    context: ({ extra }) => contextOf(extra.request) as never,
    onSubscribe: ({ subscriptions: open }, _id, { query, operationName }) => {
      try {
        checkDocument(query)
        if (getOperationAST(parse(query), operationName)?.operation !== 'subscription') {
          throw new GraphQLError('Only subscriptions are taken over WebSocket; send queries and mutations with POST.')
        }
        if (Object.keys(open).length > MAX_SUBSCRIPTIONS) {
          throw new GraphQLError(`There are ${MAX_SUBSCRIPTIONS} subscriptions on this connection already; end one first.`)
        }
        return undefined
      } catch (error) {
        // written by onError, below
        return [error instanceof GraphQLError ? error : new GraphQLError((error as Error).message, { originalError: error as Error })]
      }
    },
    onError: ({ extra }, _id, _payload, errors) => format(errors, extra.request),
  })
  app.addHook('onRoute', (route) => {
    if (route.url === '/graphql' && route.method === 'GET') route.wsHandler = handler as never
  })
  // a refused upgrade is answered on a socket that nobody else will close
  app.addHook('onResponse', async (request) => {
    if (isUpgrade(request)) request.raw.socket.destroySoon()
  })
  await app.register(websocket, { options: { maxPayload: MAX_MESSAGE_BYTES } })
}

export const isUpgrade = ({ headers }: FastifyRequest) => headers.upgrade?.toLowerCase() === 'websocket'

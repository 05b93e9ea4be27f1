/**
 * The Pothos builder: its plugins, scalars and limits.
 */

import SchemaBuilder from '@pothos/core'
import ComplexityPlugin from '@pothos/plugin-complexity'
import RelayPlugin from '@pothos/plugin-relay'
import { RequestError } from '../operations/errors.js'
import { fixedLimits } from '../operations/limits.js'
import { typenameOf } from './node-type.js'
import { scalars } from './scalars.js'
import type { GraphqlContext } from './types.js'

interface Json {
  readonly Input: unknown
  readonly Output: unknown
}

export interface SchemaTypes {
  Context: GraphqlContext
  DefaultFieldNullability: false
  Scalars: {
    Positions: Json
    ImageInput: Json
    VectorInput: Json
    Shape: Json
    TensorData: Json
    Json: Json
    Upload: { Input: Uint8Array; Output: never }
  }
}

export function createBuilder() {
  const builder = new SchemaBuilder<SchemaTypes>({
    plugins: [ComplexityPlugin, RelayPlugin],
    defaultFieldNullability: false,
    relay: {
      // An id is the same in REST and in GraphQL; what it is of, one sees by its form.
      encodeGlobalID: (_typename, id) => String(id),
      decodeGlobalID: (id) => ({ typename: typenameOf(id), id }),
    },
    complexity: {
      defaultComplexity: 1,
      defaultListMultiplier: 1,
      limit: { complexity: fixedLimits.graphqlComplexity },
      complexityError: (_kind, { complexity }) =>
        new RequestError('LIMIT_EXCEEDED', {
          limit: 'graphqlComplexity',
          given: complexity,
          maximum: fixedLimits.graphqlComplexity,
          what: 'complexity of the query',
          instead: 'Ask for fewer fields, or for smaller pages.',
        }),
    },
  })
  for (const [name, scalar] of Object.entries(scalars)) builder.addScalarType(name as 'Shape', scalar as never)
  return builder
}

export type Builder = ReturnType<typeof createBuilder>

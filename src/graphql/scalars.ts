/**
 * Scalars: what GraphQL's own types cannot say. They take any JSON; the operation's schema says what is right.
 */

import { GraphQLError, GraphQLScalarType, valueFromASTUntyped } from 'graphql'
import { UploadedFile } from './types.js'

const json = (name: string, description: string) =>
  new GraphQLScalarType({
    name,
    description,
    serialize: (value) => value,
    parseValue: (value) => value,
    parseLiteral: (node, variables) => valueFromASTUntyped(node, variables),
  })

export const scalars = {
  Positions: json(
    'Positions',
    '"all", "cls", "patches", or a list of indices. Position 0 is CLS where the model has one, then registers, then patches row by row.',
  ),
  ImageInput: json('ImageInput', 'The id of an uploaded image ("sha256:..."), or { base64: "..." } with a JPEG, PNG or WebP file.'),
  VectorInput: json(
    'VectorInput',
    'A direction: a list of numbers, { id: "..." } of a stored vector, { sae: "...", feature: 12 } for the row of a feature in the decoder of its SAE, { text: "...", minus: "..." } for a text, or { difference: { of: [...], from: [...] } } for two sets of pictures.',
  ),
  Shape: json('Shape', 'A list of axis lengths; the batch axis is "batch".'),
  TensorData: json(
    'TensorData',
    'Nested lists of numbers ("NaN", "Infinity" and "-Infinity" where they are not finite), or the little-endian bytes as base64.',
  ),
  Json: json('Json', 'Any JSON.'),
  Upload: new GraphQLScalarType<Uint8Array, never>({
    name: 'Upload',
    description: 'A file of a multipart request (https://github.com/jaydenseric/graphql-multipart-request-spec).',
    serialize: () => {
      throw new GraphQLError('Upload is an input type.')
    },
    parseValue: (value) => {
      if (!(value instanceof UploadedFile)) throw new GraphQLError('A value of type Upload is a file of a multipart/form-data request.')
      return value.bytes
    },
    parseLiteral: (node) => {
      throw new GraphQLError('A value of type Upload is a variable, and its file a part of a multipart/form-data request.', { nodes: node })
    },
  }),
} as const

export type ScalarName = keyof typeof scalars

export function isScalarName(name: unknown): name is ScalarName {
  return typeof name === 'string' && Object.hasOwn(scalars, name)
}

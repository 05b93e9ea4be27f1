/**
 * Which form of an answer the client wants, by `Accept`.
 */

import '@fastify/accepts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { HttpError } from './http-errors.js'

export const JSON_TYPE = 'application/json'
export const NPZ = 'application/x-npz'
export const SAFETENSORS = 'application/vnd.safetensors'
export const PNG = 'image/png'
export const SVG = 'image/svg+xml'
export const TEXT = 'text/plain'
/** ONNX has no type of its own. */
export const BYTES = 'application/octet-stream'
export const ARROW = 'application/vnd.apache.arrow.stream'

/** In order of preference where the client has none. */
export const tensorTypes = [JSON_TYPE, NPZ, SAFETENSORS, ARROW] as const

export type TensorType = (typeof tensorTypes)[number]

/** The first of `offered` that is acceptable, in the client's order of preference. @throws NOT_ACCEPTABLE */
export function negotiate<T extends string>(request: FastifyRequest, reply: FastifyReply, offered: readonly T[]): T {
  if (offered.length > 1) reply.header('vary', [reply.getHeader('vary') ?? [], 'Accept'].flat().join(', '))
  const chosen = request.accepts().type([...offered])
  if (typeof chosen === 'string') return chosen as T
  throw new HttpError('NOT_ACCEPTABLE', { accept: request.headers.accept ?? '', offered })
}

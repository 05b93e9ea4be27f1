/**
 * Query and path parameters are text; a schema says what they stand for. What does not look like it stays text, and the validator
 * says so. Bodies are never converted.
 */

import type { TSchema } from 'typebox'

interface Schema {
  readonly type?: string
  readonly anyOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
}

const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/

/** @param raw  as Node's query parser gives them: a list where a name comes more than once */
export function fromQuery(schema: TSchema, raw: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const properties = (schema as Schema).properties ?? {}
  return Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [name, Object.hasOwn(properties, name) ? readValue(properties[name]!, value) : value]),
  )
}

function readValue(schema: Schema, raw: unknown): unknown {
  if (schema.anyOf) {
    const list = schema.anyOf.find(({ type }) => type === 'array')
    return list && looksLikeList(raw) ? readValue(list, raw) : raw
  }
  if (schema.type === 'array') {
    const parts = [raw].flat().flatMap((part) => (typeof part === 'string' ? part.split(',') : [part]))
    return parts.map((part) => readValue(schema.items ?? {}, part))
  }
  if (typeof raw !== 'string') return raw
  if (schema.type === 'integer' || schema.type === 'number') return NUMBER.test(raw) ? Number(raw) : raw
  if (schema.type === 'boolean') return raw === 'true' ? true : raw === 'false' ? false : raw
  return raw
}

/** `3` or `0,1,5`, and not a name such as `cls`. */
const looksLikeList = (raw: unknown) => Array.isArray(raw) || (typeof raw === 'string' && /^[\d,\s-]+$/.test(raw))

/**
 * Checks an input against its schema, strictly: an unknown field is an error, nothing is converted. The check itself is TypeBox's
 * compiled one; when it fails, the schema is walked again to say everything that is wrong, each with its path, in words.
 */

import type { Static, TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { EngineError } from '../engine/errors.js'
import { nearest } from '../engine/nearest.js'
import { Problems, type Refusal, RequestError } from './errors.js'
import type { LimitName } from './limits.js'

/** The part of JSON Schema that our declarations use. */
interface Schema {
  readonly type?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly minProperties?: number
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly uniqueItems?: boolean
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly description?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly 'x-limit'?: LimitName
}

interface Found {
  readonly path: string
  readonly refusal: Refusal
}

export type Validator<S extends TSchema> = (value: unknown) => Static<S>

/** @returns a function that returns its argument, or throws INPUT_INVALID or LIMIT_EXCEEDED with every problem found. */
export function validator<S extends TSchema>(schema: S): Validator<S> {
  const compiled = Compile(schema)
  return (value) => {
    if (compiled.Check(value)) return value as Static<S>
    const problems = new Problems()
    for (const { path, refusal } of explain(schema as Schema, value, '')) {
      problems.add(path, refusal)
      if (problems.full) break
    }
    problems.throwIfAny()
    throw new Error(`Invariant violated: a failed check has a problem (${compiled.Errors(value)[0]?.message})`)
  }
}

const join = (path: string, key: string) => (path === '' ? key : `${path}.${key}`)
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

function invalid(path: string, problem: string): Found {
  return { path, refusal: new EngineError('INPUT_INVALID', { path: path === '' ? 'input' : path, problem }) }
}

function* explain(schema: Schema, value: unknown, path: string): Generator<Found> {
  if (schema.anyOf) yield* explainUnion(schema.anyOf, value, path)
  else if (schema.type === 'object' && schema.properties && isRecord(value)) yield* explainObject(schema, value, path)
  else if (schema.type === 'array' && Array.isArray(value)) yield* explainArray(schema, value, path)
  else {
    const problem = problemOf(schema, value)
    if (problem !== undefined) yield invalid(path, problem)
  }
}

/** What is wrong with a value that has no parts, or is of another type than its schema. */
function problemOf(schema: Schema, value: unknown): string | undefined {
  if (schema.const !== undefined) return value === schema.const ? undefined : `${show(value)} is not ${show(schema.const)}`
  if (schema.enum) return schema.enum.includes(value) ? undefined : notOneOf(value, schema.enum)
  switch (schema.type) {
    case 'string':
      return typeof value === 'string' ? problemOfString(schema, value) : `${show(value)} is not a string`
    case 'integer':
    case 'number':
      return typeof value === 'number' ? problemOfNumber(schema, value) : `${show(value)} is not ${describe(schema)}`
    case 'boolean':
      return typeof value === 'boolean' ? undefined : `${show(value)} is not true or false`
    case 'null':
      return value === null ? undefined : `${show(value)} is not null`
    case 'object':
      return isRecord(value) ? undefined : `${show(value)} is not an object`
    case 'array':
      return Array.isArray(value) ? undefined : `${show(value)} is not a list`
    default:
      return undefined
  }
}

function problemOfString({ minLength = 0, maxLength = Number.POSITIVE_INFINITY, pattern, description }: Schema, value: string) {
  if (value.length > maxLength) return `is ${value.length} characters long; at most ${maxLength} are allowed`
  if (value.length < minLength) return 'is empty'
  if (!pattern || new RegExp(pattern, 'u').test(value)) return undefined
  return `${show(value)} is not of the right form${description ? `: ${description}` : `; it must match ${pattern}`}`
}

function problemOfNumber({ type, minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY }: Schema, value: number) {
  if (!Number.isFinite(value)) return `${value} is not a finite number`
  if (type === 'integer' && !Number.isInteger(value)) return `${value} is not an integer`
  if (value < minimum) return `${value} is less than ${minimum}`
  return value > maximum ? `${value} is more than ${maximum}` : undefined
}

function* explainObject(schema: Schema, value: Record<string, unknown>, path: string): Generator<Found> {
  const properties = schema.properties ?? {}
  const known = Object.keys(properties)
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(properties, key)) continue
    const shown = key.slice(0, 100)
    const [near] = nearest(shown, known)
    const hint = near === undefined ? `The fields are ${known.map(show).join(', ')}.` : `Did you mean "${near}"?`
    yield invalid(join(path, shown), `unknown field ${show(shown)}. ${hint}`)
  }
  for (const key of schema.required ?? []) {
    if (value[key] !== undefined) continue
    const allowed = literals(properties[key]!)
    yield invalid(join(path, key), `is missing${allowed.length > 0 ? `; one of ${allowed.map(show).join(', ')}` : ''}`)
  }
  if (Object.keys(value).length < (schema.minProperties ?? 0)) yield invalid(path, `needs ${known.map(show).join(' or ')}`)
  for (const key of known) if (value[key] !== undefined) yield* explain(properties[key]!, value[key], join(path, key))
}

function* explainArray(schema: Schema, value: readonly unknown[], path: string): Generator<Found> {
  const { items, minItems = 0, maxItems = Number.POSITIVE_INFINITY, 'x-limit': limit } = schema
  if (value.length > maxItems) {
    const instead = 'Send several smaller requests.'
    if (limit === undefined) yield invalid(path, `has ${value.length} items; at most ${maxItems} are allowed`)
    else yield { path, refusal: new RequestError('LIMIT_EXCEEDED', { limit, given: value.length, maximum: maxItems, what: path, instead }) }
    return
  }
  if (value.length < minItems) {
    const needs = minItems === 1 ? 'at least one item' : `at least ${minItems} items`
    yield invalid(path, value.length === 0 ? `is empty; it needs ${needs}` : `has ${value.length} of ${needs}`)
  }
  if (schema.uniqueItems) {
    const seen = new Set<unknown>()
    const twice = value.find((item) => seen.size === seen.add(item).size)
    if (twice !== undefined) yield invalid(path, `holds ${show(twice)} twice`)
  }
  if (!items) return
  if (items.anyOf || items.properties || items.items) {
    for (const [index, item] of value.entries()) yield* explain(items, item, `${path}[${index}]`)
    return
  }
  // plain items, perhaps a million numbers: without a generator for each
  for (let index = 0; index < value.length; index++) {
    const problem = problemOf(items, value[index])
    if (problem !== undefined) yield invalid(`${path}[${index}]`, problem)
  }
}

/**
 * Which alternative was meant? Of objects: the one whose literal field agrees (`op`), then the one whose own required field is there.
 * Of the rest: the one of the value's own type.
 */
function* explainUnion(branches: readonly Schema[], value: unknown, path: string): Generator<Found> {
  const objects = branches.filter((branch) => branch.type === 'object')
  if (!isRecord(value) || objects.length === 0) {
    const ofType = Array.isArray(value) ? listsOf(branches, value) : branches.filter((branch) => branch.type === typeof value)
    const allowed = branches.flatMap(literals)
    if (ofType.length === 1) yield* explain(ofType[0]!, value, path)
    else if (allowed.length > 0 && typeof value === 'string') yield invalid(path, notOneOf(value, allowed))
    else yield invalid(path, `${show(value)} is not ${branches.map(describe).join(' or ')}`)
    return
  }
  const literalOf = (branch: Schema, key: string) => branch.properties?.[key]?.const
  const key = Object.keys(objects[0]!.properties ?? {}).find((name) => objects.every((branch) => literalOf(branch, name) !== undefined))
  const agreeing = key === undefined ? objects : objects.filter((branch) => literalOf(branch, key) === value[key])
  if (agreeing.length === 0) {
    const constants = [...new Set(objects.map((branch) => literalOf(branch, key!)))]
    const given = value[key!]
    yield invalid(
      join(path, key!),
      given === undefined ? `is missing; one of ${constants.map(show).join(', ')}` : notOneOf(given, constants),
    )
    return
  }
  if (agreeing.length === 1) return yield* explain(agreeing[0]!, value, path)

  const ownKeys = agreeing.map((branch) =>
    (branch.required ?? []).filter((name) => agreeing.every((other) => other === branch || !Object.hasOwn(other.properties ?? {}, name))),
  )
  const meant = agreeing.filter((_, index) => ownKeys[index]!.some((name) => value[name] !== undefined))
  if (meant.length === 1) return yield* explain(meant[0]!, value, path)
  const names = ownKeys.flat().map(show)
  if (meant.length > 1) return yield invalid(path, `takes only one of ${names.join(' and ')}`)
  yield invalid(path, `needs ${names.join(' or ')}`)
  const allProperties = Object.assign({}, ...agreeing.map(({ properties }) => properties))
  yield* explainObject({ properties: allProperties }, value, path)
}

/** Of several kinds of lists the one that holds what the value begins with, else the first. */
function listsOf(branches: readonly Schema[], [first]: readonly unknown[]): readonly Schema[] {
  const lists = branches.filter(({ type }) => type === 'array')
  const holds = ({ items }: Schema) => (items?.type === 'integer' ? 'number' : items?.type) === typeof first
  return lists.length > 1 ? [lists.find(holds) ?? lists[0]!] : lists
}

function literals(schema: Schema): readonly unknown[] {
  if (schema.const !== undefined) return [schema.const]
  return schema.enum ?? schema.anyOf?.flatMap(literals) ?? []
}

function describe(schema: Schema): string {
  const values = literals(schema)
  if (values.length > 0) return values.map(show).join(' or ')
  if (schema.type === 'array') return 'a list'
  if (schema.type === 'integer') return 'an integer'
  if (schema.type === 'object') return `an object with ${(schema.required ?? Object.keys(schema.properties ?? {})).map(show).join(', ')}`
  return schema.type === 'null' ? 'null' : `a ${schema.type}`
}

function notOneOf(value: unknown, allowed: readonly unknown[]): string {
  const [near] = typeof value === 'string' ? nearest(value.slice(0, 100), allowed.map(String)) : []
  return `${show(value)} is not one of ${allowed.map(show).join(', ')}${near === undefined ? '' : `. Did you mean "${near}"?`}`
}

/** A value in a message: short, whatever was sent. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value !== 'string') return String(value)
  return value.length > 80 ? JSON.stringify(`${value.slice(0, 80)}...`) : JSON.stringify(value)
}

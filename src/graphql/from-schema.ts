/**
 * GraphQL types from the schemas of the operations, so that both doors say the same names.
 *
 * | in the schema | in GraphQL |
 * |---|---|
 * | object with a title | type of that name; as an input, with `Input` at its end |
 * | alternatives of objects (`anyOf`) | one type with the fields of all; required where all require them |
 * | strings to choose from, with a title | enum; `-` becomes `_` |
 * | map (`x-entry`) | list of pairs |
 * | `x-scalar`, or alternatives of different types | scalar |
 * | anything or null | nullable |
 */

import type { InputFieldRef, InputRef, OutputRef } from '@pothos/core'
import type { TSchema } from 'typebox'
import type { Builder, SchemaTypes } from './builder.js'
import { isScalarName } from './scalars.js'

type Types = PothosSchemaTypes.ExtendDefaultTypes<SchemaTypes>
type Output = OutputRef | 'ID' | 'String' | 'Int' | 'Float' | 'Boolean'
type Input = InputRef | 'ID' | 'String' | 'Int' | 'Float' | 'Boolean'
export type OutputFields = PothosSchemaTypes.ObjectFieldBuilder<Types, Record<string, unknown>>
export type RootFields = PothosSchemaTypes.RootFieldBuilder<Types, object, 'Query'>
export type Source = Record<string, unknown>

/** The part of JSON Schema that our declarations use. */
export interface Schema {
  readonly title?: string
  readonly description?: string
  readonly type?: string
  readonly format?: string
  readonly const?: unknown
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean | Schema
  readonly required?: readonly string[]
  readonly items?: Schema
  readonly 'x-scalar'?: string
  readonly 'x-entry'?: { readonly title: string; readonly key: string; readonly value: string }
}

export class TypesFromSchemas {
  readonly #builder: Builder
  readonly #outputs = new Map<string, OutputRef>()
  readonly #inputs = new Map<string, InputRef>()

  constructor(builder: Builder) {
    this.#builder = builder
  }

  /** The fields of an object, each read from the parent under its own name. */
  outputFields(schema: TSchema, t: OutputFields) {
    const { properties = {}, required = [] } = merged(schema as Schema)
    const fields = Object.entries(properties).filter(([, property]) => property.type !== 'null')
    return Object.fromEntries(
      fields.map(([name, property]) => {
        const { inner, isNullable } = withoutNull(property)
        return [
          name,
          t.field({
            type: this.#outputParam(inner, t),
            nullable: nullability(inner, isNullable || !required.includes(name)) as never,
            ...describe(property),
            resolve: (parent: Source) => (inner['x-entry'] ? entries(parent[name], inner['x-entry']) : (parent[name] ?? null)) as never,
          }),
        ]
      }),
    )
  }

  /** An output type, made when first seen. */
  output(schema: TSchema): Output {
    return this.#output(schema as Schema)
  }

  /** A type made by hand, which schemas with this title then stand for. */
  use(title: string, ref: OutputRef): void {
    this.#outputs.set(title, ref)
  }

  /** Arguments of a field, from the properties of an operation's input. */
  argumentsOf(schema: TSchema, t: RootFields) {
    const { properties = {}, required = [] } = schema as Schema
    return Object.fromEntries(
      Object.entries(properties).map(([name, property]) => {
        const about = { required: required.includes(name), ...describe(property) }
        return [name, t.arg({ type: this.#inputParam(property) as never, ...about })]
      }),
    )
  }

  input(schema: TSchema): Input {
    return this.#input(schema as Schema)
  }

  #outputParam(schema: Schema, t: OutputFields): never {
    if (schema['x-entry']) return [this.#entry(schema)] as never
    if (schema.type !== 'array' || schema['x-scalar']) return this.#output(schema) as never
    const { inner: items } = withoutNull(schema.items!)
    return (items.type === 'array' ? t.listRef(this.#outputParam(items, t)) : [this.#output(items)]) as never
  }

  #output(schema: Schema): Output {
    const simple = simpleType(schema)
    if (simple !== undefined) return simple as Output
    const title = titleOf(schema)
    const known = this.#outputs.get(title)
    if (known) return known
    if (schema.enum) return this.#enum(title, schema)
    const ref = this.#builder.objectRef<Source>(title)
    this.#outputs.set(title, ref)
    ref.implement({ ...describe(schema), fields: (t) => this.outputFields(schema as TSchema, t) })
    return ref
  }

  #entry(schema: Schema): OutputRef {
    const { title, key, value } = schema['x-entry']!
    const known = this.#outputs.get(title)
    if (known) return known
    const ref = this.#builder.objectRef<Source>(title)
    this.#outputs.set(title, ref)
    ref.implement({
      fields: (t) => ({
        [key]: t.string({ resolve: (parent) => parent[key] as string }),
        [value]: t.field({
          type: this.#output(schema.additionalProperties as Schema) as never,
          resolve: (parent) => parent[value] as never,
        }),
      }),
    })
    return ref
  }

  #inputParam(schema: Schema): Input | [Input] {
    return schema.type === 'array' && !schema['x-scalar'] ? [this.#input(schema.items!)] : this.#input(schema)
  }

  #input(schema: Schema): Input {
    const simple = simpleType(schema)
    if (simple !== undefined) return simple as Input
    const title = titleOf(schema)
    if (schema.enum) return this.#enum(title, schema) as unknown as Input
    const name = title.endsWith('Input') ? title : `${title}Input`
    const known = this.#inputs.get(name)
    if (known) return known
    const { properties = {}, required = [] } = merged(schema)
    const ref = this.#builder.inputRef<Source>(name)
    this.#inputs.set(name, ref)
    ref.implement({
      ...describe(schema),
      fields: (t) =>
        Object.fromEntries(
          Object.entries(properties).map(([field, property]) => [
            field,
            t.field({
              type: this.#inputParam(property) as never,
              required: required.includes(field),
              ...describe(property),
            }) as InputFieldRef<Types, unknown>,
          ]),
        ) as never,
    })
    return ref
  }

  #enum(title: string, schema: Schema): OutputRef {
    const known = this.#outputs.get(title)
    if (known) return known
    const values = Object.fromEntries(schema.enum!.map((value) => [String(value).replaceAll('-', '_'), { value }]))
    const ref = this.#builder.enumType(title, { ...describe(schema), values: values as never })
    this.#outputs.set(title, ref)
    return ref
  }
}

/** Built-in types and scalars. Integers that may pass 2^31 are Float, which is exact to 2^53. */
function simpleType(schema: Schema): string | undefined {
  const scalar = schema['x-scalar']
  if (isScalarName(scalar) || scalar === 'ID') return scalar
  if (schema.anyOf && isScalarName(schema.title)) return schema.title
  if (schema.enum && schema.title === undefined) return 'String'
  if (schema.enum) return undefined
  if (schema.type === 'string') return 'String'
  if (schema.type === 'boolean') return 'Boolean'
  if (schema.type === 'number') return 'Float'
  if (schema.type === 'integer') return schema.format === 'int64' ? 'Float' : 'Int'
  return undefined
}

function titleOf(schema: Schema): string {
  if (schema.title === undefined)
    throw new Error(`Invariant violated: a schema that GraphQL needs has no title: ${JSON.stringify(schema).slice(0, 200)}`)
  return schema.title
}

const describe = ({ description }: Schema) => (description === undefined ? {} : { description })

function withoutNull(schema: Schema): { inner: Schema; isNullable: boolean } {
  const others = schema.anyOf?.filter(({ type }) => type !== 'null')
  if (!others || others.length === schema.anyOf!.length) return { inner: schema, isNullable: false }
  if (others.length !== 1) throw new Error('Invariant violated: null and several alternatives')
  return { inner: others[0]!, isNullable: true }
}

/** Of a list, whether its items may be null is said apart. */
function nullability(schema: Schema, isNullable: boolean): boolean | { list: boolean; items: boolean } {
  const isOfNulls = schema.type === 'array' && schema.items !== undefined && withoutNull(schema.items).isNullable
  return isOfNulls ? { list: isNullable, items: true } : isNullable
}

/** Alternatives of objects as one object; literals of the same field become an enum. */
function merged(schema: Schema): Schema {
  if (!schema.anyOf) return schema
  const names = [...new Set(schema.anyOf.flatMap(({ properties = {} }) => Object.keys(properties)))]
  const properties = names.map((name) => {
    const alternatives = schema.anyOf!.map((branch) => branch.properties?.[name]).filter((property) => property !== undefined)
    const literals = alternatives.filter((property) => property.const !== undefined).map((property) => property.const)
    const title = `${schema.title}${name[0]!.toUpperCase()}${name.slice(1)}`
    return [name, literals.length > 0 ? { title, enum: [...new Set(literals)] } : together(alternatives, title)] as const
  })
  const required = names.filter((name) => schema.anyOf!.every((branch) => branch.required?.includes(name)))
  return { ...schema, properties: Object.fromEntries(properties), required }
}

/** Lists of different objects as a list of one object with the fields of all; else the first. */
function together(alternatives: readonly Schema[], title: string): Schema {
  const [first] = alternatives as [Schema]
  const items = alternatives.flatMap((each) => (each.items?.properties ? [each.items] : []))
  return alternatives.length === 1 || items.length < alternatives.length ? first : { ...first, items: { title, anyOf: items } }
}

function entries(map: unknown, { key, value }: NonNullable<Schema['x-entry']>) {
  return Object.entries(map as object).map(([name, item]) => ({ [key]: name, [value]: item }))
}

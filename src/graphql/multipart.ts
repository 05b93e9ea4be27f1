/**
 * Files in GraphQL: the multipart request specification.
 * @see https://github.com/jaydenseric/graphql-multipart-request-spec
 */

import type { FastifyRequest } from 'fastify'
import { GraphQLError } from 'graphql'
import { UploadedFile } from './types.js'

/** The request body that a form stands for: `operations`, with the files put where `map` says. @throws GraphQLError */
export async function bodyOfForm(request: FastifyRequest): Promise<unknown> {
  try {
    return await readForm(request)
  } catch (error) {
    // the parser of forms throws bare errors, and with codes only for limits
    if (error instanceof GraphQLError || 'code' in (error as object)) throw error
    throw new GraphQLError(`The form cannot be read: ${(error as Error).message}.`)
  }
}

async function readForm(request: FastifyRequest): Promise<unknown> {
  let operations: unknown
  let map: Record<string, unknown> | undefined
  for await (const part of request.parts()) {
    // the parser lets a part be without a name
    const name = (part.fieldname as string | undefined) ?? ''
    if (part.type === 'field') {
      if (name === 'operations') operations = jsonOf('operations', part.value)
      else if (name === 'map') map = recordOf('map', jsonOf('map', part.value))
      else throw new GraphQLError(`The form field "${name.slice(0, 100)}" is not expected; it has "operations", "map" and files.`)
      continue
    }
    if (operations === undefined || map === undefined)
      throw new GraphQLError('The form fields "operations" and "map" come before the files.')
    const file = new UploadedFile(await part.toBuffer())
    const paths = Object.hasOwn(map, name) ? map[name] : undefined
    if (!Array.isArray(paths)) throw new GraphQLError(`"map" does not say where the file "${name.slice(0, 100)}" belongs.`)
    for (const path of paths) place(operations, String(path), file)
  }
  if (operations === undefined) throw new GraphQLError('The form has no "operations".')
  return operations
}

function jsonOf(field: string, text: unknown): unknown {
  try {
    return JSON.parse(String(text))
  } catch {
    throw new GraphQLError(`The form field "${field}" is not JSON.`)
  }
}

function recordOf(field: string, value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new GraphQLError(`The form field "${field}" is not an object.`)
}

/** Puts the file at a path such as `variables.file`, where a null waits for it; nothing else is ever replaced. */
function place(operations: unknown, path: string, file: UploadedFile): void {
  const keys = path.split('.')
  const last = keys.pop()!
  let at = operations
  for (const key of keys) at = isContainer(at) && Object.hasOwn(at, key) ? at[key] : undefined
  if (!isContainer(at) || !Object.hasOwn(at, last) || at[last] !== null) {
    throw new GraphQLError(`"map" names "${path.slice(0, 100)}", and "operations" has no null there.`)
  }
  at[last] = file
}

const isContainer = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/**
 * The small JSON files of a model's folder.
 */

import { readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { isJsonObject, type JsonObject } from './config-fields.js'

export type { JsonObject }

const DEFAULT_MAX_BYTES = 4 * 2 ** 20

/**
 * Undefined when the file is not there.
 * @throws FILE_INVALID when it is too large, not JSON, or not an object; the message never quotes what the file holds
 */
export async function readJsonFile(folder: string, file: string, maxBytes = DEFAULT_MAX_BYTES): Promise<JsonObject | undefined> {
  const text = await readTextFile(folder, file, maxBytes)
  if (text === undefined) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw new EngineError('FILE_INVALID', { file, problem: 'is not JSON.' })
  }
  if (!isJsonObject(parsed)) throw new EngineError('FILE_INVALID', { file, problem: 'is not a JSON object.' })
  return parsed
}

/** Undefined when the file is not there. @throws FILE_INVALID */
export async function readTextFile(folder: string, file: string, maxBytes = DEFAULT_MAX_BYTES): Promise<string | undefined> {
  const found = await stat(path.join(folder, file)).catch(() => undefined)
  if (!found) return undefined
  if (!found.isFile()) throw new EngineError('FILE_INVALID', { file, problem: 'is not a file.' })
  if (found.size > maxBytes) {
    throw new EngineError('FILE_INVALID', { file, problem: `has ${found.size} bytes; at most ${maxBytes} are read.` })
  }
  return readFile(path.join(folder, file), 'utf8')
}

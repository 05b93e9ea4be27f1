/** The configuration file of an SAE's folder. */

import { openFileSource } from '../../io/byte-source.js'
import { invalidFile } from '../../io/refusals.js'
import type { SavedConfig } from './layout.js'

/** A configuration may carry the whole of a training run's settings, and no more. */
const maxBytes = 4 * 2 ** 20

/** @throws FILE_INVALID when it is too large, not JSON, or not an object */
export async function readSavedConfig(path: string, file: string): Promise<SavedConfig> {
  const source = await openFileSource(path, file)
  let text: string
  try {
    if (source.size > maxBytes) throw invalidFile(file, `has ${source.size} bytes; at most ${maxBytes} are read.`)
    text = new TextDecoder().decode(await source.read(0, source.size))
  } finally {
    await source.close()
  }
  const parsed = parse(text, file)
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw invalidFile(file, 'is not a JSON object.')
  return parsed as SavedConfig
}

function parse(text: string, file: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw invalidFile(file, 'is not JSON.')
  }
}

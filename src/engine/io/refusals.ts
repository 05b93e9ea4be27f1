/**
 * How readers of files refuse: always with the file's name, and with names found inside a file made safe to print.
 */

import { EngineError } from '../errors.js'

const maxNameLength = 120

export function invalidFile(file: string, problem: string): EngineError<'FILE_INVALID'> {
  return new EngineError('FILE_INVALID', { file, problem })
}

/** Of a file that only this program writes: what its reader stumbles over is damage. */
export function damaged(file: string, error: unknown): EngineError {
  return error instanceof EngineError ? error : invalidFile(file, 'is damaged.')
}

/** A name taken from a file, quoted, without control characters and never long: it may have been made to be printed. */
export function quoted(name: string): string {
  return JSON.stringify(name.length > maxNameLength ? `${name.slice(0, maxNameLength)}…` : name)
}

/** The first few of a list of names, quoted, and how many more there are. */
export function quotedList(names: readonly string[], limit = 5): string {
  const shown = names.slice(0, limit).map(quoted).join(', ')
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown
}

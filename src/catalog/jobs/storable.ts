/** PostgreSQL holds no NUL and nothing that is not Unicode: what programs say is made to fit, what people send is refused. */

import type { Json } from '../../engine/training/run/checkpoints.js'

/** Deeper than any input, and shallow enough to walk. */
const MAX_DEPTH = 64

/** Halves of surrogate pairs become U+FFFD on the way through UTF-8. */
const whole = (text: string) => Buffer.from(text).toString().replaceAll('\0', '\ufffd')

export function storableText(text: string, maxLength: number): string {
  const stored = whole(text)
  return stored.length <= maxLength ? stored : whole(`${stored.slice(0, maxLength - 3)}...`)
}

/** As JSON would write it: without what is undefined, null for what is no number. */
export function storableJson(value: Json): Json {
  if (typeof value === 'string') return whole(value)
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (Array.isArray(value)) return value.map(storableJson)
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value as Readonly<Record<string, Json>>).filter(([, item]) => item !== undefined)
  return Object.fromEntries(fields.map(([name, item]) => [whole(name), storableJson(item)]))
}

/** What keeps a value from being stored, and where; undefined when nothing does. */
export function storageProblem(value: Json, path: string, depth = 0): { readonly path: string; readonly problem: string } | undefined {
  if (typeof value === 'string') {
    return whole(value) === value
      ? undefined
      : { path, problem: 'holds a character that cannot be stored (U+0000, or half of a surrogate pair)' }
  }
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === MAX_DEPTH) return { path, problem: `is nested deeper than ${MAX_DEPTH} levels` }
  for (const [name, item] of Object.entries(value)) {
    const at = Array.isArray(value) ? `${path}[${name}]` : `${path}.${name.slice(0, 100)}`
    const found = storageProblem(name, path) ?? storageProblem(item as Json, at, depth + 1)
    if (found !== undefined) return found
  }
  return undefined
}

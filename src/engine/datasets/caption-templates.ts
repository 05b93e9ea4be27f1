/**
 * Captions from what is known about a picture: `a photo of a {class}`, `{name}`, `{keywords}`. A placeholder with several values gives a
 * caption for each, which share the template's weight; a template whose placeholder has no value for a picture gives none.
 */

import { nearest } from '../nearest.js'
import type { StrictFields } from '../strict-fields.js'
import type { Caption } from './dataset.js'

export interface CaptionTemplate {
  readonly text: string
  readonly weight: number
}

/** Of one picture: placeholder to values. */
export type CaptionValues = Readonly<Record<string, readonly string[]>>

const placeholder = /\{([^{}]*)\}/g

/** Reads `[{ text: 'a photo of a {class}', weight: 1 }, ...]`; what is wrong is reported with the other fields. */
export function templatesOf(fields: StrictFields, key: string, placeholders: readonly string[]): readonly CaptionTemplate[] | undefined {
  return fields.sections(key)?.map((section) => {
    const text = section.string('text')
    for (const [, name] of text.matchAll(placeholder)) {
      if (placeholders.includes(name!)) continue
      const [near] = nearest(name!, placeholders)
      section.problem(
        'text',
        `there is no {${name}}; ${near === undefined ? `there is ${placeholders.map((each) => `{${each}}`).join(', ')}` : `did you mean {${near}}?`}`,
      )
    }
    return { text, weight: section.number('weight', { min: 0.000001, max: 1e6, fallback: 1 }) }
  })
}

/** Captions of equal text are one, with the sum of the weights. */
export function captionsFrom(templates: readonly CaptionTemplate[], values: CaptionValues): Caption[] {
  const weights = new Map<string, number>()
  for (const { text, weight } of templates) {
    const texts = expanded(text, values)
    for (const each of texts) weights.set(each, (weights.get(each) ?? 0) + weight / texts.length)
  }
  return [...weights].map(([text, weight]) => ({ text, weight }))
}

function expanded(text: string, values: CaptionValues): string[] {
  const names = [...new Set([...text.matchAll(placeholder)].map(([, name]) => name!))]
  let texts = [text]
  for (const name of names) {
    texts = texts.flatMap((each) => (values[name] ?? []).map((value) => each.replaceAll(`{${name}}`, () => value)))
  }
  return [...new Set(texts)]
}

/**
 * What a model is trained and tested on: pictures in an order that does not change, each with what is known about it. A data set knows a
 * hash of what it contains, so that a run can say what it was trained on, and holds no decoded picture: `picture-store.ts` does.
 */

import { createHash } from 'node:crypto'
import type { Pixels } from '../image/pixels.js'

export interface Dataset {
  readonly name: string
  /**
   * sha256 in hex over labels, captions and the bytes of the pictures, in the order of the items: equal where a model would learn the same.
   * Of generated pictures: over the generator's name, version and parameters.
   */
  readonly hash: string
  /** Number of items. */
  readonly size: number
  /** Labels are 0 .. nClasses - 1. Undefined where items have no labels. */
  readonly nClasses?: number
  /** By label. */
  readonly classNames?: readonly string[]
  readonly report: DatasetReport
  /** @param index  0 .. size - 1 */
  item(index: number): DatasetItem
}

export interface DatasetItem {
  /** For messages: the file within the data set, or which of the generated pictures. */
  readonly name: string
  readonly picture: PictureSource
  /** Other pictures of the same thing, one of which may be drawn in its place (an emoji's skin tones). */
  readonly variants?: readonly PictureSource[]
  readonly label?: number
  readonly captions?: readonly Caption[]
  /** What else is known: the artist, the class, a latent factor. For splits and for measuring by group. */
  readonly facets: Facets
}

export type Facets = Readonly<Record<string, string | number>>

export interface Caption {
  readonly text: string
  /** How often it is drawn, relative to the item's other captions. Above 0. */
  readonly weight: number
}

/** Where a picture comes from; nothing is read before it is needed. */
export type PictureSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Kept elsewhere, and fetched each time. */
  | { readonly kind: 'stored'; readonly read: () => Promise<Uint8Array> }
  | { readonly kind: 'drawn'; readonly draw: () => Pixels }

/** What was found while a data set was opened and is not in it, or is in it twice. Never silent: a run's folder holds it. */
export interface DatasetReport {
  /** Left out because `unreadable` is `skip`. */
  readonly unreadable: Finding
  /** Pictures whose bytes are those of an earlier one. They are kept. */
  readonly identical: Finding
  /** Files in the folder that are no pictures. */
  readonly ignored: Finding
}

export interface Finding {
  readonly count: number
  /** The first ones, each a file and, where there is one, a reason. */
  readonly first: readonly string[]
}

const MAX_SHOWN = 10

export const nothingFound: Finding = { count: 0, first: [] }
export const nothingToReport: DatasetReport = { unreadable: nothingFound, identical: nothingFound, ignored: nothingFound }

/** Counts findings and keeps the first. */
export class FindingCounter {
  #count = 0
  readonly #first: string[] = []

  add(what: string): void {
    this.#count++
    if (this.#first.length < MAX_SHOWN) this.#first.push(what)
  }

  get count(): number {
    return this.#count
  }

  get finding(): Finding {
    return { count: this.#count, first: [...this.#first] }
  }
}

/** `a, b, c and 7 more` */
export function named({ count, first }: Finding): string {
  return `${first.join(', ')}${count > first.length ? ` and ${count - first.length} more` : ''}`
}

/** sha256 in hex over values as JSON, each on a line of its own. */
export function hashOf(...values: readonly unknown[]): string {
  const hash = createHash('sha256')
  for (const value of values) hash.update(`${JSON.stringify(value)}\n`)
  return hash.digest('hex')
}

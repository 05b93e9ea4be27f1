/**
 * The requests that wait: first come, first served, with three refinements.
 *
 *   merging    who comes next takes along those behind that can share the run
 *   pinning    who waits keeps the model it needs in memory, so that alternating requests do not load and evict in turns
 *   deferring  who needs memory that others' pins hold is set aside until those others have been served. Meanwhile later arrivals pin
 *              nothing and are not served, so the one set aside waits for a fixed set of requests and cannot starve.
 */

import { EngineError } from '../errors.js'

export interface Waiting {
  /** Requests of equal key may share a run; undefined shares with none. */
  readonly mergeKey: string | undefined
  readonly nRows: number
  /** What it needs in memory, as ids of the memory budget. */
  readonly needs: readonly string[]
}

export interface WaitingLineOptions {
  readonly limit: number
  /** Pins a resident; the function returned lets go. */
  readonly pin: (id: string) => () => void
}

interface Place<T> {
  readonly item: T
  unpin: (() => void) | undefined
}

export interface Served<T> {
  readonly item: T
  /** Lets go of what the item pins; to be called when it has been served. */
  readonly unpin: () => void
}

export class WaitingLine<T extends Waiting> {
  readonly #limit: number
  readonly #pin: WaitingLineOptions['pin']
  /** First come first; those set aside are in front, in the order in which they came. */
  #places: Place<T>[] = []
  #nDeferred = 0
  /** From when one is set aside until all of those have been served. */
  #holdsBack = false

  constructor({ limit, pin }: WaitingLineOptions) {
    this.#limit = limit
    this.#pin = pin
  }

  get length(): number {
    return this.#places.length
  }

  get first(): T | undefined {
    return this.#places[0]?.item
  }

  get items(): readonly T[] {
    return this.#places.map(({ item }) => item)
  }

  /** How many wait that may share runs by this key, and their rows. */
  kin(mergeKey: string | undefined): { readonly nRequests: number; readonly nRows: number } {
    const kin = this.#places.filter(({ item }) => mergeKey !== undefined && item.mergeKey === mergeKey)
    return { nRequests: kin.length, nRows: kin.reduce((sum, { item }) => sum + item.nRows, 0) }
  }

  /** @throws QUEUE_FULL */
  push(item: T, retryAfterSeconds: () => number): void {
    if (this.#places.length >= this.#limit) {
      throw new EngineError('QUEUE_FULL', { limit: this.#limit, retryAfterSeconds: retryAfterSeconds() })
    }
    const place: Place<T> = { item, unpin: undefined }
    this.#places.push(place)
    if (!this.#holdsBack) this.#pinFor(place)
  }

  /** Takes out one that gave up. False when it does not wait (any more). */
  remove(item: T): boolean {
    const index = this.#places.findIndex((place) => place.item === item)
    if (index < 0) return false
    this.#leave(index)
    return true
  }

  /** Takes the next to be served, with its pins. The one before it has been served or set aside. */
  next(): Served<T> | undefined {
    if (this.#places.length === 0) return undefined
    if (this.#nDeferred === 0 && this.#holdsBack) {
      this.#holdsBack = false
      for (const place of this.#places) this.#pinFor(place)
    }
    const pinned = this.#nDeferred > 0 ? this.#places.findIndex(({ unpin }) => unpin !== undefined) : -1
    const place = this.#take(Math.max(pinned, 0))
    this.#pinFor(place)
    return { item: place.item, unpin: place.unpin! }
  }

  /** Takes those that can share `head`'s run, in order, up to `maxRows` rows with the head's. What they pin, the head has pinned. */
  mates(head: T, maxRows: number): T[] {
    const mates: T[] = []
    let nRows = head.nRows
    if (head.mergeKey === undefined) return mates
    for (let index = 0; index < this.#places.length && nRows < maxRows; ) {
      const { item } = this.#places[index]!
      if (item.mergeKey !== head.mergeKey || nRows + item.nRows > maxRows) {
        index++
        continue
      }
      nRows += item.nRows
      mates.push(this.#leave(index))
    }
    return mates
  }

  /** Whether the memory that somebody who waits has pinned could come free by serving them first. */
  get holdsPins(): boolean {
    return this.#places.some(({ unpin }) => unpin !== undefined)
  }

  /** Puts one back that has to wait for the memory that others in the line hold. */
  defer(item: T): void {
    this.#holdsBack = true
    this.#places.splice(this.#nDeferred++, 0, { item, unpin: undefined })
  }

  /** Empties the line. */
  clear(): T[] {
    this.#nDeferred = 0
    return this.#places.splice(0).map(({ item, unpin }) => {
      unpin?.()
      return item
    })
  }

  #leave(index: number): T {
    const place = this.#take(index)
    place.unpin?.()
    return place.item
  }

  #take(index: number): Place<T> {
    if (index < this.#nDeferred) this.#nDeferred--
    return this.#places.splice(index, 1)[0]!
  }

  #pinFor(place: Place<T>): void {
    if (place.unpin !== undefined) return
    const unpins = place.item.needs.map((id) => this.#pin(id))
    place.unpin = () => {
      for (const unpin of unpins) unpin()
    }
  }
}

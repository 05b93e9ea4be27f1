/**
 * Prepared pictures, kept under the memory budget by image and preprocessing. Whoever asks for a picture that is being prepared waits for
 * that same preparation; it is called off when all who waited have gone.
 */

import type { Preprocessing } from '../image/preprocessing.js'
import { byteLength, type Tensor } from '../tensor.js'
import { onCancel, orCancelled } from './cancellation.js'
import type { PictureFile } from './host.js'
import type { MemoryBudget } from './memory-budget.js'

type Picture = Tensor<'float32'>

interface Flight {
  readonly picture: Promise<Picture>
  readonly abort: AbortController
  waiters: number
}

export interface PreparedPicturesOptions {
  readonly budget: MemoryBudget
  readonly prepare: (bytes: Uint8Array, how: Preprocessing, signal: AbortSignal) => Promise<Picture>
}

export class PreparedPictures {
  readonly #budget: MemoryBudget
  readonly #prepare: PreparedPicturesOptions['prepare']
  readonly #kept = new Map<string, Picture>()
  readonly #flights = new Map<string, Flight>()
  /** Counted for the metrics. A picture that was being prepared already is a hit. */
  hits = 0
  misses = 0

  constructor({ budget, prepare }: PreparedPicturesOptions) {
    this.#budget = budget
    this.#prepare = prepare
  }

  /** @throws whatever reading and preparing throw, to all who wait for it; CANCELLED to the one who gave up */
  get(image: PictureFile, how: Preprocessing, signal?: AbortSignal): Promise<Picture> {
    const key = `picture:${image.id}:${JSON.stringify(how)}`
    const kept = this.#kept.get(key)
    if (kept !== undefined) {
      this.#budget.touch(key)
      this.hits++
      return Promise.resolve(kept)
    }
    const running = this.#flights.get(key)
    if (running === undefined) this.misses++
    else this.hits++
    return this.#join(running ?? this.#start(key, image, how), key, signal)
  }

  #start(key: string, image: PictureFile, how: Preprocessing): Flight {
    const abort = new AbortController()
    const prepare = (bytes: Uint8Array) => this.#prepare(bytes, how, abort.signal)
    const file = image.read()
    const picture = file instanceof Promise ? file.then(prepare) : prepare(file)
    const flight: Flight = { picture, abort, waiters: 0 }
    this.#flights.set(key, flight)
    const land = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
    }
    picture.then((prepared) => {
      land()
      this.#keep(key, prepared)
    }, land)
    return flight
  }

  #join(flight: Flight, key: string, signal: AbortSignal | undefined): Promise<Picture> {
    flight.waiters++
    const stop = onCancel(signal, () => {
      if (--flight.waiters > 0) return
      // Nobody may join a preparation that is being called off.
      if (this.#flights.get(key) === flight) this.#flights.delete(key)
      flight.abort.abort()
    })
    return orCancelled(flight.picture, signal).finally(stop)
  }

  /** A picture that does not fit beside what is in use is simply not kept. */
  #keep(key: string, picture: Picture): void {
    if (this.#kept.has(key)) return
    const kept = this.#budget.tryReserve({
      id: key,
      kind: 'picture',
      bytes: byteLength(picture),
      what: 'A prepared picture',
      evict: () => this.#kept.delete(key),
    })
    if (kept) this.#kept.set(key, picture)
  }
}

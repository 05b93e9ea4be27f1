/** What a shard says of itself, collected so that the one that listens hears it a few times a second, however often it is said. */

import type { NewLogLine } from '../../catalog/jobs/job.js'

const EVERY_MS = 200

export interface Report {
  readonly progress: number
  readonly message?: string
  readonly lines: readonly NewLogLine[]
}

export class Reports {
  readonly #send: (report: Report) => void
  #progress = 0
  #message: string | undefined
  #lines: NewLogLine[] = []
  #isNew = false
  #sentAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  constructor(send: (report: Report) => void) {
    this.#send = send
  }

  /** @param done  0 to 1 */
  progress(done: number, message?: string): void {
    this.#progress = Math.min(1, Math.max(0, Number.isFinite(done) ? done : 0))
    if (message !== undefined) this.#message = message
    this.#changed()
  }

  line(line: NewLogLine): void {
    this.#lines.push(line)
    this.#changed()
  }

  /** Sends what was not sent yet. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#isNew) return
    this.#isNew = false
    this.#sentAt = performance.now()
    this.#send({ progress: this.#progress, lines: this.#lines, ...(this.#message !== undefined && { message: this.#message }) })
    this.#lines = []
  }

  #changed(): void {
    this.#isNew = true
    // not by the timer alone: whoever computes without pause lets none fire
    if (performance.now() - this.#sentAt >= EVERY_MS) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), EVERY_MS)
  }
}

/**
 * How long the next run waits for company. Callers that ask again as soon as they are answered come back within milliseconds, one after the
 * other. If the first of them ran at once, it would run alone while all others wait, and from then on runs of one and of many would take
 * turns. So right after a run, whoever comes first waits a moment for as many as were answered and left waiting then. The moment is a small
 * share of what the run took: little is lost where nobody comes back, and nothing where runs are short or a single caller asks.
 */

import type { Waiting, WaitingLine } from './waiting-line.js'

const SHARE_OF_RUN = 0.04
const MAX_MS = 10
/** What a timer can do. */
const MIN_MS = 1

interface Run {
  /** By which requests share runs; undefined where none may share this one. */
  readonly mergeKey: string | undefined
  /** How many it answered. */
  readonly nRequests: number
  readonly ms: number
  /** What the next one like it can take. */
  readonly maxRows: number
}

export class Company {
  readonly #line: WaitingLine<Waiting>
  #expected: { readonly mergeKey: string; readonly nRequests: number; readonly maxRows: number; readonly until: number } | undefined
  #check: () => void = () => undefined

  constructor(line: WaitingLine<Waiting>) {
    this.#line = line
  }

  /** A run has been answered: as many may soon be there again. */
  parted({ mergeKey, nRequests, ms, maxRows }: Run): void {
    const patience = Math.min(MAX_MS, SHARE_OF_RUN * ms)
    this.#expected = undefined
    if (mergeKey === undefined || patience < MIN_MS) return
    const waiting = this.#line.kin(mergeKey).nRequests
    this.#expected = { mergeKey, nRequests: nRequests + waiting, maxRows, until: performance.now() + patience }
  }

  /** Somebody joined the line. */
  arrived(): void {
    this.#check()
  }

  /** Undefined when who is first in the line should run at once; otherwise resolves when they should. */
  gathered(): Promise<void> | undefined {
    const ms = this.#worthWaiting()
    if (ms === 0) return undefined
    return new Promise((resolve) => {
      const go = () => {
        clearTimeout(timer)
        this.#check = () => undefined
        resolve()
      }
      const timer = setTimeout(go, ms)
      this.#check = () => {
        if (this.#worthWaiting() === 0) go()
      }
    })
  }

  #worthWaiting(): number {
    const mergeKey = this.#line.first?.mergeKey
    if (this.#expected === undefined || this.#expected.mergeKey !== mergeKey) return 0
    const { nRequests, nRows } = this.#line.kin(mergeKey)
    const isFull = nRows + nRows / nRequests > this.#expected.maxRows
    return nRequests >= this.#expected.nRequests || isFull ? 0 : Math.max(0, this.#expected.until - performance.now())
  }
}

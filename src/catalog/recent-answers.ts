/**
 * Answers of the database that are believed for a moment, so that a busy server does not ask the same for every request. What this process
 * changes it forgets at once; what another process changes is seen when the moment is over.
 */

import { LRUCache } from 'lru-cache'

const BELIEVED_MS = 1000
const MAX_ANSWERS = 512

export class RecentAnswers<T extends object> {
  readonly #find: (id: string) => Promise<T | undefined>
  /** Those under way too: whoever asks meanwhile waits for the same answer. */
  readonly #answers: LRUCache<string, Promise<T | undefined>>

  /** @param now  milliseconds on any steady clock; tests pass their own */
  constructor(find: (id: string) => Promise<T | undefined>, now: () => number = () => performance.now()) {
    this.#find = find
    this.#answers = new LRUCache({ max: MAX_ANSWERS, ttl: BELIEVED_MS, ttlResolution: 0, perf: { now } })
  }

  /** That there is nothing is not believed, nor is a failure: the next one asks again. @throws what `find` throws */
  get(id: string): Promise<T | undefined> {
    const known = this.#answers.get(id)
    if (known) return known
    const asked = this.#find(id)
    this.#answers.set(id, asked)
    const drop = () => {
      if (this.#answers.peek(id) === asked) this.#answers.delete(id)
    }
    asked.then((answer) => answer ?? drop(), drop)
    return asked
  }

  /** What was learnt on another way is believed as well. */
  remember(id: string, answer: T): void {
    this.#answers.set(id, Promise.resolve(answer))
  }

  /** To be called after every change, whether it succeeded or not. */
  forget(id: string): void {
    this.#answers.delete(id)
  }
}

/**
 * Keeps one worker alive: starts it, notices when it is gone or its device is, starts it again, and gives up for a while when it dies again and
 * again.
 */

import { isLost } from '../backends/device-failures.js'
import { EngineError } from '../errors.js'
import type { Channel } from './channel.js'
import { type Methods, Remote } from './remote.js'

export interface RestartPolicy {
  /** This many deaths within `windowMs` make the worker unhealthy: it is left alone for `cooldownMs`. */
  readonly maxDeaths: number
  readonly windowMs: number
  readonly cooldownMs: number
  /** The wait before the second restart of a window, doubled for each one after it. The first restart is at once. */
  readonly backoffMs: number
}

export const defaultRestartPolicy: RestartPolicy = { maxDeaths: 5, windowMs: 60_000, cooldownMs: 30_000, backoffMs: 200 }

export type SupervisorState = 'starting' | 'ready' | 'restarting' | 'unhealthy' | 'closed'

export interface SupervisorOptions<T extends Methods<T>, Info> {
  readonly open: () => Channel
  /** The first call to a new worker; what it answers is `info`. */
  readonly start: (remote: Remote<T>) => Promise<Info>
  /** Called with what the worker says of itself, with each of its answers. */
  readonly onState?: (state: unknown) => void
  /** Called for every death, before anything is restarted: what lived in the worker is gone. */
  readonly onDeath: (reason: string) => void
  readonly policy: RestartPolicy
}

export class Supervisor<T extends Methods<T>, Info> {
  readonly #options: SupervisorOptions<T, Info>
  #state: SupervisorState = 'starting'
  #remote: Promise<Remote<T>>
  /** The worker that runs or starts, for `close`. */
  #current: Remote<T> | undefined
  #info: Info | undefined
  #deaths: { readonly at: number; readonly reason: string }[] = []
  #restarts = 0
  #wake: (() => void) | undefined
  #cooldown: NodeJS.Timeout | undefined

  constructor(options: SupervisorOptions<T, Info>) {
    this.#options = options
    this.#remote = this.#launch()
    this.#remote.catch(() => undefined)
  }

  get state(): SupervisorState {
    return this.#state
  }

  /** How often a new worker took a dead one's place. */
  get restarts(): number {
    return this.#restarts
  }

  /** What the worker said of itself when it started. Undefined until the first one has. */
  get info(): Info | undefined {
    return this.#info
  }

  /**
   * The worker, once it is ready; a restart is waited for.
   *
   * @throws ENGINE_UNHEALTHY after too many deaths in a row, until the next attempt; CANCELLED after `close`; the first start's own error
   */
  remote(): Promise<Remote<T>> {
    return this.#state === 'unhealthy' ? Promise.reject(this.#unhealthy()) : this.#remote
  }

  async close(): Promise<void> {
    this.#state = 'closed'
    clearTimeout(this.#cooldown)
    this.#wake?.()
    this.#remote = Promise.reject(new EngineError('CANCELLED', { why: 'the engine is shutting down' }))
    this.#remote.catch(() => undefined)
    await this.#current?.finish()
  }

  async #launch(): Promise<Remote<T>> {
    let refused = false
    const onEnd = (reason: string) => {
      if (!refused) this.#died(reason)
    }
    const { open, onState } = this.#options
    const remote = new Remote<T>(open(), { onEnd, isFatal: isLost, ...(onState && { onState }) })
    this.#current = remote
    try {
      this.#info = await this.#options.start(remote)
    } catch (error) {
      // It died and that has been counted: whoever waits goes on to the next worker.
      if (isLost(error) || (error instanceof EngineError && error.code === 'WORKER_DIED')) return this.remote()
      refused = true
      await remote.terminate()
      this.#giveUp(error instanceof Error ? error.message : String(error))
      throw error
    }
    if (this.#state !== 'closed') this.#state = 'ready'
    return remote
  }

  /** A worker that lives but will not start will not start a second later either. */
  #giveUp(reason: string): void {
    if (this.#state === 'closed') return
    this.#deaths = [{ at: performance.now(), reason }]
    this.#rest()
  }

  /** No worker for a while; then one more attempt, with a clean record. */
  #rest(): void {
    this.#state = 'unhealthy'
    this.#cooldown = setTimeout(() => {
      this.#deaths = []
      this.#relaunch(0)
    }, this.#options.policy.cooldownMs).unref()
  }

  #unhealthy(): EngineError<'ENGINE_UNHEALTHY'> {
    const { cooldownMs, windowMs } = this.#options.policy
    const { at, reason } = this.#deaths.at(-1)!
    const retryAfterSeconds = Math.max(1, Math.ceil((at + cooldownMs - performance.now()) / 1000))
    return new EngineError('ENGINE_UNHEALTHY', {
      deaths: this.#deaths.length,
      windowSeconds: Math.ceil(windowMs / 1000),
      reason,
      retryAfterSeconds,
    })
  }

  #died(reason: string): void {
    if (this.#state === 'closed') return
    const { policy, onDeath } = this.#options
    const now = performance.now()
    this.#deaths = [...this.#deaths.filter(({ at }) => now - at < policy.windowMs), { at: now, reason }]
    onDeath(reason)
    if (this.#deaths.length >= policy.maxDeaths) this.#rest()
    else this.#relaunch(this.#deaths.length === 1 ? 0 : policy.backoffMs * 2 ** (this.#deaths.length - 2))
  }

  #relaunch(delayMs: number): void {
    this.#state = 'restarting'
    this.#restarts++
    // One whose device was lost may still be ending; a new one would find the same device with it.
    const over = Promise.all([this.#pause(delayMs), this.#current?.finish()])
    this.#remote = over.then(() => (this.#state === 'closed' ? this.#remote : this.#launch()))
    this.#remote.catch(() => undefined)
  }

  #pause(ms: number): Promise<void> {
    if (ms === 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

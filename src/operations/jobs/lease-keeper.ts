/** Renews a lease while its shard is being done, and passes on what the shard says of itself. */

import { isDatabaseAway } from '../../catalog/jobs/connection.js'
import type { JobLeases, NewLogLine, ShardLease, Standing } from '../../catalog/jobs/job.js'
import type { Report } from './reports.js'

const REPORT_MS = 500
/** While the database is away; more are left out. */
const MAX_LINES = 1000

export interface LeaseKeeperOptions {
  readonly lease: ShardLease
  readonly leaseMs: number
  /** Nobody wants the result any more. Called once. */
  readonly onUnwanted: (standing: Exclude<Standing, 'running'>) => void
  /** What was said cannot be told; it is left out. */
  readonly onError: (error: unknown) => void
}

export class LeaseKeeper {
  readonly #leases: Pick<JobLeases, 'report'>
  readonly #options: LeaseKeeperOptions
  readonly #timer: NodeJS.Timeout
  #lines: NewLogLine[] = []
  #progress = 0
  #message: string | undefined
  #isNew = false
  #renewedAt = performance.now()
  #telling: Promise<void> | undefined
  #isUnwanted = false

  constructor(leases: Pick<JobLeases, 'report'>, options: LeaseKeeperOptions) {
    this.#leases = leases
    this.#options = options
    this.#timer = setInterval(() => this.#tick(), Math.min(REPORT_MS, options.leaseMs / 3))
  }

  add({ progress, message, lines }: Report): void {
    this.#progress = progress
    this.#message = message
    this.#lines = [...this.#lines, ...lines].slice(0, MAX_LINES)
    this.#isNew = true
  }

  /** Tells what was not told yet, and renews no more. May be called twice. */
  async end(): Promise<void> {
    clearInterval(this.#timer)
    await this.#telling
    if (this.#isNew && !this.#isUnwanted) await this.#tell()
  }

  /** Asks now whether the result is still wanted. */
  look(): void {
    this.#isNew = true
    this.#tick()
  }

  #tick(): void {
    const isDue = performance.now() - this.#renewedAt >= this.#options.leaseMs / 3
    if (this.#telling || this.#isUnwanted || !(this.#isNew || isDue)) return
    this.#telling = this.#tell().finally(() => {
      this.#telling = undefined
    })
  }

  /** While the database is away nothing is lost: the lease is still this one's when it comes back, unless another was faster. */
  async #tell(): Promise<void> {
    const { lease, leaseMs, onUnwanted } = this.#options
    const lines = this.#lines
    this.#lines = []
    this.#isNew = false
    try {
      const report = { progress: this.#progress, lines, ...(this.#message !== undefined && { message: this.#message }) }
      const standing = await this.#leases.report(lease, report, leaseMs)
      this.#renewedAt = performance.now()
      if (standing === 'running' || this.#isUnwanted) return
      this.#isUnwanted = true
      onUnwanted(standing)
    } catch (error) {
      if (!isDatabaseAway(error)) return this.#options.onError(error)
      this.#lines = [...lines, ...this.#lines].slice(0, MAX_LINES)
      this.#isNew = true
    }
  }
}

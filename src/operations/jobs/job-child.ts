/** The worker's end of a process that does a job's work. */

import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ShardLease } from '../../catalog/jobs/job.js'
import type { FromJobProcess, ShardEnd, ToJobProcess } from './messages.js'
import type { Report } from './reports.js'

export type ChildEnd = ShardEnd | { readonly kind: 'died'; readonly how: string }

export class JobChild {
  /** Whose work it does: what it keeps in memory is of that job. */
  readonly jobId: string
  readonly #child: ChildProcess
  readonly #died: Promise<string>
  #onMessage: (message: FromJobProcess) => void = () => {}
  #isDead = false

  constructor(jobId: string, begin: ToJobProcess & { readonly type: 'begin' }) {
    this.jobId = jobId
    const isSource = import.meta.url.endsWith('.ts')
    this.#child = fork(fileURLToPath(new URL(isSource ? './job-process.ts' : './job-process.js', import.meta.url)), [], {
      // from sources (tests) it needs the loader that this process has
      execArgv: isSource ? ['--import', pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href] : [],
      serialization: 'advanced',
      // results of a command are on its standard output; whatever a process says goes to the log
      stdio: ['ignore', 2, 2, 'ipc'],
    })
    this.#child.on('message', (message: FromJobProcess) => this.#onMessage(message))
    this.#died = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve(signal ?? `code ${code}`))
      this.#child.once('error', (error) => resolve(error.message))
    })
    void this.#died.then(() => {
      this.#isDead = true
    })
    this.#send(begin)
  }

  get isDead(): boolean {
    return this.#isDead
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** One shard at a time. */
  async work(lease: ShardLease, onReport: (report: Report) => void): Promise<ChildEnd> {
    const ended = new Promise<ShardEnd>((resolve) => {
      this.#onMessage = (message) => {
        if (message.type === 'end') resolve(message.end)
        else
          onReport({ progress: message.progress, lines: message.lines, ...(message.message !== undefined && { message: message.message }) })
      }
    })
    this.#send({ type: 'work', lease })
    return Promise.race([ended, this.#died.then((how) => ({ kind: 'died', how }) as const)])
  }

  /** Asks it to give up its shard. */
  stop(why: string): void {
    this.#send({ type: 'stop', why })
  }

  /** At once, whatever it does. */
  async kill(): Promise<void> {
    if (!this.#isDead) this.#child.kill('SIGKILL')
    await this.#died
  }

  #send(message: ToJobProcess): void {
    // one that has just died is told of by its exit
    if (this.#child.connected) this.#child.send(message, () => {})
  }
}

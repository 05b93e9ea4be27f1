/** A worker that computes nothing, for the channels to it: runs as a thread or as a process. */

import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import { EngineError } from '../../../src/engine/errors.js'
import { processPort } from '../../../src/engine/host/process-channel.js'
import { answerCalls } from '../../../src/engine/host/remote.js'
import { threadPort } from '../../../src/engine/host/thread-channel.js'

let nCalls = 0

const smallWorker = {
  async whoAreYou() {
    return { pid: process.pid, isThread: !isMainThread }
  },
  async echo(value: unknown) {
    return value
  },
  async lose() {
    throw new EngineError('DEVICE_LOST', { device: 'cuda:0', doing: 'running "x"', problem: 'an illegal memory access was encountered' })
  },
  async refuse() {
    const problems = [{ path: 'a.b', message: 'is odd' }]
    throw new EngineError('INPUT_INVALID', { path: 'a', problem: 'is odd' }, problems)
  },
  async fail() {
    throw new TypeError('a bug')
  },
  /** Until it is called off. */
  async wait(signal?: AbortSignal) {
    await new Promise((resolve) => signal!.addEventListener('abort', resolve))
    throw signal!.reason
  },
  /** Whatever comes. */
  async compute(ms: number) {
    const end = performance.now() + ms
    while (performance.now() < end) Math.sqrt(2)
    return 'computed'
  },
  async later(ms: number) {
    await sleep(ms)
    return ms
  },
  async die(code: number) {
    process.exit(code)
  },
}

export type SmallWorker = typeof smallWorker

answerCalls(isMainThread ? processPort() : threadPort(), smallWorker, () => ++nCalls)

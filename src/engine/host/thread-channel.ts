/**
 * A channel to a worker thread. Threads share an address space: a tensor's buffer is handed over, not copied.
 */

import path from 'node:path'
import { parentPort, Worker } from 'node:worker_threads'
import { invariant } from '../errors.js'
import type { Channel, Port } from './channel.js'
import { type WorkerName, workerFile } from './worker-file.js'

/** The message that asks a thread to end. It is read between calls, so never in the middle of native code. */
const finishMessage = 'finish'

/** Starts a thread. */
export function openThread(name: WorkerName): Channel {
  return threadChannel(startThread(workerFile(name)))
}

/** The owner's end of the channel to a running thread. */
export function threadChannel(worker: Worker): Channel {
  let reason: string | undefined
  worker.on('error', (error) => {
    reason ??= describe(error)
  })
  const ended = new Promise<string>((resolve) => worker.on('exit', (code) => resolve(reason ?? `its thread ended with code ${code}`)))
  const finish = async (why: string) => {
    reason ??= why
    worker.postMessage(finishMessage)
    await ended
  }
  // A message that cannot be read here would leave its call waiting for ever: that worker is of no use any more.
  worker.on('messageerror', (error) => void finish(describe(error)))
  return {
    send: (message, transfer = []) => worker.postMessage(message, transfer),
    receive: (listener) => void worker.on('message', listener),
    ended,
    finish: () => finish('it was ended'),
    terminate: async () => {
      reason ??= 'it was ended'
      await worker.terminate()
    },
  }
}

/** The worker's end of the channel, inside the thread. */
export function threadPort(): Port {
  const port = parentPort
  invariant(port !== null, 'this file runs as a worker thread')
  return {
    send: (message, transfer = []) => port.postMessage(message, transfer),
    receive: (listener) => void port.on('message', (message) => (message === finishMessage ? process.exit() : listener(message))),
  }
}

/**
 * Compiled, a thread is started from the file as it is. From sources (tests) Node cannot read TypeScript in a thread, whose `execArgv` does
 * not reach its entry point either: a line of JavaScript registers the loader first.
 *
 * @param file  its name shows in debuggers and profilers
 */
export function startThread(file: URL): Worker {
  const { name, ext } = path.parse(file.pathname)
  if (ext === '.js') return new Worker(file, { name })
  const entry = JSON.stringify(file)
  return new Worker(`import('tsx/esm/api').then(({ register }) => { register(); return import(${entry}) })`, { name, eval: true })
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'it ran out of memory' : error.message
}

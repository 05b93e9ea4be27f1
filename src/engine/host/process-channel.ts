/**
 * A channel to a worker in a process of its own: for devices whose drivers may break the process that uses them. Memory is not shared, so tensors
 * are copied, at some 1 GB/s. See docs/decisions/0007-accelerators-run-in-a-process.md.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Channel, Port } from './channel.js'
import { type FrameListener, FrameReader, frameOf } from './frames.js'
import { type WorkerName, workerFile } from './worker-file.js'

/** The message that asks a process to end. It is read between calls. */
const finishMessage = 'finish'
/** A broken driver may keep a process from ending. It loses nothing when it is killed. */
const FINISH_MS = 5000
/** The socket in the child, after standard input, output and error. */
const SOCKET = 3

/** Starts a process. `title` shows in `ps`. */
export function openProcess(name: WorkerName, title: string): Channel {
  return processChannel(startProcess(workerFile(name), title))
}

export function startProcess(file: URL, title: string): ChildProcess {
  // from sources (tests) it needs the loader that this process has
  const loader = file.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : []
  // results of a command are on its standard output; whatever a process says goes to the log
  return spawn(process.execPath, [...loader, fileURLToPath(file), title], { stdio: ['ignore', 2, 2, 'pipe'] })
}

/** The owner's end of the channel to a process that has been started. */
export function processChannel(child: ChildProcess): Channel {
  const socket = child.stdio[SOCKET] as Socket
  let reason: string | undefined
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(reason ?? error.message))
    // when all that it sent has been read, too
    child.once('close', (code, signal) => resolve(reason ?? `its process ended ${signal === null ? `with code ${code}` : `by ${signal}`}`))
  })
  const finish = async (why: string) => {
    reason ??= why
    send(socket, finishMessage)
    const insist = setTimeout(() => child.kill('SIGKILL'), FINISH_MS)
    await ended
    clearTimeout(insist)
  }
  // what is sent to one that is gone is lost, and its end is told of
  socket.on('error', () => undefined)
  return {
    send: (message) => send(socket, message),
    // A message that cannot be read would leave its call waiting for ever: that worker is of no use any more.
    receive: (deliver) => receive(socket, { deliver, unreadable: (error) => void finish(error.message) }),
    ended,
    finish: () => finish('it was ended'),
    terminate: async () => {
      reason ??= 'it was ended'
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** The worker's end of the channel, inside the process. */
export function processPort(): Port {
  process.title = process.argv[2] ?? process.title
  // Ctrl-C and the end of a service reach all processes of a group. This one lives as long as its owner has work for it.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
  const socket = new Socket({ fd: SOCKET, readable: true, writable: true })
  socket.on('error', () => undefined)
  socket.on('close', () => process.exit())
  return {
    send: (message) => send(socket, message),
    receive: (listener) =>
      receive(socket, {
        // what has been answered goes out first
        deliver: (message) => (message === finishMessage ? setImmediate(() => socket.end(() => process.exit())) : listener(message)),
        unreadable: (error) => {
          throw error
        },
      }),
  }
}

function send(socket: Socket, message: unknown): void {
  const pieces = frameOf(message)
  socket.cork()
  for (const piece of pieces) socket.write(piece)
  socket.uncork()
}

function receive(socket: Socket, listener: FrameListener): void {
  const reader = new FrameReader(listener)
  socket.on('data', (chunk) => reader.read(chunk))
}

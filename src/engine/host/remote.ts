/**
 * Calls over a channel: a method's name and arguments go there, its result or its error comes back. Errors of the engine keep their code,
 * details and problems; buffers of a result move without a copy. A call can be called off: the method is told by its signal, and answers when
 * it has come to an end, so that whoever waits for the worker knows when it is free.
 */

import { EngineError, type ErrorCode, type Problem } from '../errors.js'
import { onCancel } from './cancellation.js'
import type { Channel, Port } from './channel.js'

interface Call {
  readonly id: number
  readonly method: string
  readonly args: readonly unknown[]
}

/** The caller of a call has given up. */
interface Cancellation {
  readonly cancel: number
}

/** `state`: what the worker says of itself at that moment. */
type Reply = { readonly id: number; readonly state: unknown } & ({ readonly result: unknown } | { readonly error: WireError })

type WireError =
  | { readonly code: ErrorCode; readonly details: unknown; readonly problems: readonly Problem[] }
  | { readonly message: string; readonly stack: string | undefined }

/** The methods a worker answers; arguments and results are structured-cloneable. After its arguments a method is given a signal. */
// biome-ignore lint/suspicious/noExplicitAny: a method's parameters are checked where it is called by its name
export type Methods<T> = { readonly [name in keyof T]: (...args: any[]) => Promise<unknown> }

export interface RemoteOptions {
  /** Called once, when the worker is gone, before any call in flight is rejected. */
  readonly onEnd: (reason: string) => void
  /** Errors after which a worker is of no use: it counts as gone, and is ended. Default: none. */
  readonly isFatal?: (error: Error) => boolean
  /** Called with each answer, before it is handed on. */
  readonly onState?: (state: unknown) => void
}

export class Remote<T extends Methods<T>> {
  readonly #channel: Channel
  readonly #options: RemoteOptions
  readonly #pending = new Map<number, { resolve(result: unknown): void; reject(error: Error): void; forget(): void }>()
  #nextId = 0
  #death: EngineError<'WORKER_DIED'> | undefined

  constructor(channel: Channel, options: RemoteOptions) {
    this.#channel = channel
    this.#options = options
    channel.receive((message) => this.#settle(message as Reply))
    void channel.ended.then((reason) => this.#end(reason))
  }

  /** @throws what the method throws there; WORKER_DIED when the worker ends before it has answered */
  call<M extends keyof T & string>(
    method: M,
    args: Parameters<T[M]>,
    { transfer = [], signal }: { readonly transfer?: readonly ArrayBuffer[]; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Awaited<ReturnType<T[M]>>> {
    return new Promise((resolve, reject) => {
      if (this.#death !== undefined) throw this.#death
      const id = this.#nextId++
      this.#channel.send({ id, method, args } satisfies Call, transfer)
      const forget = onCancel(signal, () => this.#channel.send({ cancel: id } satisfies Cancellation))
      this.#pending.set(id, { resolve: resolve as (result: unknown) => void, reject, forget })
    })
  }

  finish(): Promise<void> {
    return this.#channel.finish()
  }

  terminate(): Promise<void> {
    return this.#channel.terminate()
  }

  #settle(reply: Reply): void {
    const call = this.#pending.get(reply.id)
    this.#pending.delete(reply.id)
    call?.forget()
    this.#options.onState?.(reply.state)
    if (!('error' in reply)) {
      call?.resolve(reply.result)
      return
    }
    const error = fromWire(reply.error)
    if (this.#options.isFatal?.(error)) {
      this.#end(error.message)
      void this.#channel.finish()
    }
    call?.reject(error)
  }

  #end(reason: string): void {
    if (this.#death !== undefined) return
    this.#death = new EngineError('WORKER_DIED', { reason })
    this.#options.onEnd(reason)
    for (const { reject, forget } of this.#pending.values()) {
      forget()
      reject(this.#death)
    }
    this.#pending.clear()
  }
}

/** Answers calls with `methods`. A result's buffers are given away: a method must not keep using what it returns. */
export function answerCalls<T extends Methods<T>>(port: Port, methods: T, state: () => unknown = () => undefined): void {
  const running = new Map<number, AbortController>()
  port.receive((message) => {
    if ('cancel' in (message as Call | Cancellation)) {
      running.get((message as Cancellation).cancel)?.abort(new EngineError('CANCELLED', { why: 'the caller gave up' }))
      return
    }
    const { id, method, args } = message as Call
    const controller = new AbortController()
    running.set(id, controller)
    methods[method as keyof T](...args, controller.signal)
      .finally(() => running.delete(id))
      .then(
        (result) => port.send({ id, state: state(), result } satisfies Reply, [...buffersOf(result)]),
        (error: unknown) => port.send({ id, state: state(), error: toWire(error) } satisfies Reply),
      )
  })
}

/** The distinct buffers behind a value's typed arrays, shared ones left out: those are never moved. */
export function buffersOf(value: unknown, found = new Set<ArrayBuffer>()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) found.add(value.buffer)
  } else if (typeof value === 'object' && value !== null) {
    for (const child of Object.values(value)) if (typeof child === 'object') buffersOf(child, found)
  }
  return found
}

export function toWire(error: unknown): WireError {
  if (error instanceof EngineError) return { code: error.code, details: error.details, problems: error.problems }
  if (error instanceof Error) return { message: error.message, stack: error.stack }
  return { message: String(error), stack: undefined }
}

export function fromWire(wire: WireError): Error {
  if ('code' in wire) return new EngineError(wire.code, wire.details as never, wire.problems)
  const error = new Error(wire.message)
  if (wire.stack !== undefined) error.stack = wire.stack
  return error
}

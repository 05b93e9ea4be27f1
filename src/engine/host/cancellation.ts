/**
 * Waiting for something while a caller may give up.
 */

import { EngineError } from '../errors.js'

/** The error for a caller who gave up, with the signal's reason where it is a plain one. */
export function cancelled(signal: AbortSignal): EngineError<'CANCELLED'> {
  const reason: unknown = signal.reason
  if (reason instanceof EngineError && reason.code === 'CANCELLED') return reason as EngineError<'CANCELLED'>
  const isTelling = reason instanceof Error && reason.name !== 'AbortError' && reason.message !== ''
  return new EngineError('CANCELLED', { why: isTelling ? reason.message : 'the caller gave up' })
}

/** Calls `listener` when the caller gives up, at once if that has happened. The returned function stops listening. */
export function onCancel(signal: AbortSignal | undefined, listener: (error: EngineError<'CANCELLED'>) => void): () => void {
  if (signal === undefined) return () => undefined
  const abort = () => listener(cancelled(signal))
  if (signal.aborted) {
    abort()
    return () => undefined
  }
  signal.addEventListener('abort', abort, { once: true })
  return () => signal.removeEventListener('abort', abort)
}

/** `promise`, or CANCELLED as soon as the caller gives up; what the promise comes to is then ignored. */
export function orCancelled<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const stop = onCancel(signal, reject)
    promise.then(resolve, reject).finally(stop)
  })
}

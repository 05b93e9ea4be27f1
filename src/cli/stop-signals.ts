/**
 * Ctrl-C and SIGTERM: the first asks to stop, a second one insists.
 */

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** In a terminal Ctrl-C reaches npm and us, and npm passes it on: the same keystroke twice, milliseconds apart. */
const SAME_KEYSTROKE_MS = 500

export interface StopSignals {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal
  /** 128 + the number of the signal that came, as shells report it; undefined while none has. */
  exitCode(): number | undefined
  uninstall(): void
}

const numbers = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const

export function listenForStop(source: NodeJS.EventEmitter, insist: (exitCode: number) => void, now: () => number = Date.now): StopSignals {
  const stop = new AbortController()
  let first: { name: (typeof SIGNALS)[number]; at: number } | undefined
  const listeners = SIGNALS.map((name) => {
    const listener = () => {
      if (first === undefined) {
        first = { name, at: now() }
        stop.abort(new Error(`stopped by ${name}`))
      } else if (now() - first.at > SAME_KEYSTROKE_MS) insist(128 + numbers[name])
    }
    source.on(name, listener)
    return { name, listener }
  })
  return {
    signal: stop.signal,
    exitCode: () => (first === undefined ? undefined : 128 + numbers[first.name]),
    uninstall: () => {
      for (const { name, listener } of listeners) source.off(name, listener)
    },
  }
}

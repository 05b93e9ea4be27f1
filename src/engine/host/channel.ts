/**
 * Where a worker is: behind a channel that carries structured-cloneable messages both ways. A thread today (thread-channel.ts); a child
 * process would be another implementation and nothing else would change. See docs/decisions/0002-the-engine-runs-in-a-thread.md.
 */

/** One end of a channel. */
export interface Port {
  /** Buffers in `transfer` move without a copy and are gone here afterwards. */
  send(message: unknown, transfer?: readonly ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
}

/** The owner's end: it also learns when the other side is gone, and can end it. */
export interface Channel extends Port {
  /** Resolves once, with the reason, when the other side is gone for whatever cause. Never rejects. */
  readonly ended: Promise<string>
  /** Asks the other side to end as soon as the call it is in lets it; resolves when it is gone. */
  finish(): Promise<void>
  /** Ends the other side, whatever it is doing; resolves when it is gone. In the middle of native code this may end the whole process. */
  terminate(): Promise<void>
}

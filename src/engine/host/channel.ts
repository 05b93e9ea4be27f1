/**
 * Where a worker is: behind a channel that carries structured-cloneable messages both ways. It is a thread (thread-channel.ts), or a process where a
 * device's driver may break the one that it is in (process-channel.ts); nothing else knows which. See docs/decisions/0002 and 0007.
 */

/** One end of a channel. */
export interface Port {
  /**
   * Typed arrays may still be read when this has returned: they are not to be written to until the message has been answered. Buffers in `transfer`
   * may be gone here afterwards: where memory is shared they move without a copy.
   */
  send(message: unknown, transfer?: readonly ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
}

/** The owner's end: it also learns when the other side is gone, and can end it. */
export interface Channel extends Port {
  /** Resolves once, with the reason, when the other side is gone for whatever cause. Never rejects. */
  readonly ended: Promise<string>
  /** Asks the other side to end as soon as the call it is in lets it; resolves when it is gone. */
  finish(): Promise<void>
  /** Ends the other side, whatever it is doing; resolves when it is gone. A thread in the middle of native code may end the whole process. */
  terminate(): Promise<void>
}

/** The sessions of one program: alike but for which results stay in the device's memory. Made when first wanted. */

import type * as Ort from 'onnxruntime-node'

export class Sessions {
  readonly #create: (stays: readonly string[]) => Promise<Ort.InferenceSession>
  readonly #made = new Map<string, Promise<Ort.InferenceSession>>()

  /** @param create  a session whose outputs are in host memory, but for those that stay */
  constructor(create: (stays: readonly string[]) => Promise<Ort.InferenceSession>) {
    this.#create = create
  }

  get(stays: readonly string[] = []): Promise<Ort.InferenceSession> {
    const key = stays.join()
    const session = this.#made.get(key) ?? this.#create(stays)
    this.#made.set(key, session)
    return session
  }

  async release(): Promise<void> {
    const all = [...this.#made.values()]
    this.#made.clear()
    for (const each of all) await (await each.catch(() => undefined))?.release()
  }
}

/**
 * The devices as one: each request goes to the one that placement.ts chooses for the weights that it wants.
 */

import { EngineError } from '../errors.js'
import type { ModelDescription } from '../models/model.js'
import type { SaeDescription } from '../saes/load-sae.js'
import type { Device } from './device.js'
import type { DeviceStatus, ModelSource, SaeSource } from './host.js'
import { choosePlace } from './placement.js'
import { modelBytes, modelId, saeBytes, saeId, type WeightSources, weightIds } from './worker-memory.js'

const nothing: WeightSources = { saes: [] }

export class Devices {
  readonly #devices: readonly Device[]
  /** Of weights that were asked for, as their files say, by their ids in the memory budget. */
  readonly #weightBytes = new Map<string, number>()

  /** @param devices  at least one */
  constructor(devices: readonly Device[]) {
    this.#devices = devices
  }

  /** @throws DEVICE_UNAVAILABLE naming each that is, or the reason why a worker does not start */
  async started(): Promise<void> {
    const starts = await Promise.allSettled(this.#devices.map((device) => device.started()))
    const failures = starts.flatMap((start, index) =>
      start.status === 'rejected' ? [{ device: this.#devices[index]!.name, error: start.reason as Error }] : [],
    )
    if (failures.length > 0) throw failures.length === 1 ? failures[0]!.error : allOf(failures)
  }

  /** Does work on the device that it belongs to. Where that one does not run, on the next best: nothing has been done there. */
  on<T>(wanted: WeightSources, work: (device: Device) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#devices.length === 1 ? work(this.#devices[0]!) : this.#onBest(wanted, work, signal)
  }

  inspect(source: ModelSource, signal?: AbortSignal): Promise<ModelDescription> {
    return this.on(nothing, ({ dispatcher }) => dispatcher.inspect(source, signal))
  }

  inspectSae(source: SaeSource, signal?: AbortSignal): Promise<SaeDescription> {
    return this.on(nothing, ({ dispatcher }) => dispatcher.inspectSae(source, signal))
  }

  async unload(model: string): Promise<void> {
    await Promise.all(this.#devices.map(({ memory }) => memory.unload(model)))
  }

  async unloadSae(sae: string): Promise<void> {
    await Promise.all(this.#devices.map(({ memory }) => memory.unloadSae(sae)))
  }

  status(): readonly DeviceStatus[] {
    return this.#devices.map((device) => device.status())
  }

  /** Once what they were asked for is done, or `deadline` comes. */
  async close(deadline: Promise<void>): Promise<void> {
    await Promise.all(this.#devices.map((device) => device.close(deadline)))
  }

  async #onBest<T>(wanted: WeightSources, work: (device: Device) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const ids = [...new Set(weightIds(wanted))]
    if (!ids.every((id) => this.#weightBytes.has(id))) await this.#measure(wanted, signal)
    const wantedBytes = ids.reduce((sum, id) => sum + this.#weightBytes.get(id)!, 0)
    for (let left = this.#devices; ; ) {
      const places = left.map((device) => device.placeFor(ids, this.#weightBytes))
      const device = left[choosePlace(places, wantedBytes)]!
      try {
        return await work(device)
      } catch (error) {
        left = left.filter((other) => other !== device)
        if (left.length === 0 || !didNotRun(error)) throw error
      }
    }
  }

  /** @throws every error of model and SAE files */
  async #measure({ model, saes }: WeightSources, signal: AbortSignal | undefined): Promise<void> {
    if (model) this.#weightBytes.set(modelId(model.key), modelBytes(await this.inspect(model, signal)))
    for (const sae of saes) this.#weightBytes.set(saeId(sae.key), saeBytes(await this.inspectSae(sae, signal)))
  }
}

const didNotRun = (error: unknown) => error instanceof EngineError && ['ENGINE_UNHEALTHY', 'DEVICE_UNAVAILABLE'].includes(error.code)

function allOf(failures: readonly { readonly device: string; readonly error: Error }[]): EngineError<'DEVICE_UNAVAILABLE'> {
  const details = (error: Error) =>
    error instanceof EngineError && error.code === 'DEVICE_UNAVAILABLE' ? (error as EngineError<'DEVICE_UNAVAILABLE'>).details : undefined
  return new EngineError('DEVICE_UNAVAILABLE', {
    device: failures.map(({ device }) => device).join(),
    why: failures.map(({ device, error }) => `${device}: ${details(error)?.why ?? error.message}`).join('; '),
    available: failures.flatMap(({ error }) => details(error)?.available ?? []).filter((name, index, all) => all.indexOf(name) === index),
  })
}

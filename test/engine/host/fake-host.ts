/** A host over fake engines, one for each device. */

import { createEngineHost, type EngineHostOptions } from '../../../src/engine/host/engine-host.js'
import type { EngineWorker } from '../../../src/engine/host/engine-worker-calls.js'
import type { HostEvent } from '../../../src/engine/host/host-events.js'
import type { ImageWorker } from '../../../src/engine/host/image-pool.js'
import { FakeEngine, type LocalChannel, localChannel } from './fake-engine.js'

/** @param engines  what is there for each device */
export async function fakeHost(
  { images, ...options }: Partial<EngineHostOptions> & { images?: ImageWorker } = {},
  engines: readonly FakeEngine[] = (options.devices ?? ['fake']).map(() => new FakeEngine()),
) {
  const events: HostEvent[] = []
  /** The current one of each device. */
  const channels: LocalChannel[] = []
  const imageChannels: LocalChannel[] = []
  const host = await createEngineHost({
    devices: ['fake'],
    memoryBytes: 1000,
    observe: (event) => events.push(event),
    transport: {
      openEngine: (place) => {
        channels[place] = localChannel<EngineWorker>(engines[place]!.reborn(), () => engines[place]!.deviceMemory)
        return channels[place]
      },
      openImages: () => {
        const channel = localChannel(images!)
        imageChannels.push(channel)
        return channel
      },
    },
    ...options,
  })
  return { host, engine: engines[0]!, engines, events, imageChannels, kill: (reason: string, place = 0) => channels[place]!.cut(reason) }
}

/** A host over the fake engine. */

import { createEngineHost, type EngineHostOptions } from '../../../src/engine/host/engine-host.js'
import type { EngineWorker } from '../../../src/engine/host/engine-worker-calls.js'
import type { HostEvent } from '../../../src/engine/host/host-events.js'
import type { ImageWorker } from '../../../src/engine/host/image-pool.js'
import { FakeEngine, type LocalChannel, localChannel } from './fake-engine.js'

export async function fakeHost({ images, ...options }: Partial<EngineHostOptions> & { images?: ImageWorker } = {}) {
  const engine = new FakeEngine()
  const events: HostEvent[] = []
  const channels: LocalChannel[] = []
  const imageChannels: LocalChannel[] = []
  const open = (to: LocalChannel[], channel: LocalChannel) => {
    to.push(channel)
    return channel
  }
  const host = await createEngineHost({
    device: 'fake',
    memoryBytes: 1000,
    observe: (event) => events.push(event),
    transport: {
      openEngine: () => open(channels, localChannel<EngineWorker>(engine.reborn())),
      openImages: () => open(imageChannels, localChannel(images!)),
    },
    ...options,
  })
  return { host, engine, events, imageChannels, kill: (reason: string) => channels.at(-1)!.cut(reason) }
}

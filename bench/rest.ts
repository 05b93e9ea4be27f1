/**
 * REST forward: 8 clients on loopback, each with one connection and one request under way, one picture a request by id, against the bare
 * engine at its best batch. Bare engine and server take turns, so that a drift of the machine's speed falls on both alike. The clients
 * run on the same cores as the server.
 */

import { visionGraph } from '../src/engine/models/vit.js'
import { benchBackend } from './support/backend.js'
import { Client } from './support/client.js'
import { interleave, summarise } from './support/measure.js'
import { metricsOf } from './support/metrics.js'
import { type ServedModel, withServer } from './support/server.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { uploadPictures } from './support/uploads.js'
import { pictures, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'

const TARGET_SPEED = 0.9
const TARGET_DELAY_MS = 20
const N_CLIENTS = 8
const N_PICTURES = 32
const BATCHES = [1, 2, 4, 8, 16]
const TURNS = 3
const RAMP_MS = 1000

interface Turn {
  readonly imagesPerSecond: number
  readonly latencyMs: readonly number[]
  readonly imagesPerRun: number
  readonly eventLoopDelayMs: number
}

await withServer(async (served) => {
  const uploader = new Client(served.origin)
  const images = await uploadPictures(uploader, N_PICTURES)
  uploader.close()
  const runBare = await bareEngine()
  await serve(served, images, 1)

  const bare = new Map(BATCHES.map((batch) => [batch, [] as number[]]))
  const turns: Turn[] = []
  for (let turn = 0; turn < TURNS; turn++) {
    const times = await interleave(Object.fromEntries(BATCHES.map((batch) => [batch, () => runBare(batch)])), {
      seconds: seconds / TURNS,
      warmUps: 1,
    })
    for (const batch of BATCHES) bare.get(batch)!.push((1000 * batch) / times[batch]!.medianMs)
    turns.push(await serve(served, images, seconds))
  }

  const bareRates = BATCHES.map((batch) => ({ batch, rate: median(bare.get(batch)!) }))
  const best = bareRates.reduce((a, b) => (b.rate > a.rate ? b : a))
  const rate = median(turns.map(({ imagesPerSecond }) => imagesPerSecond))
  const latency = summarise(turns.flatMap(({ latencyMs }) => latencyMs))
  const rows: Row[] = bareRates.map(({ batch, rate }) => ({ what: `bare engine, batch ${batch}, images/s`, value: rate }))
  report(`REST forward of ViT-B/32, ${N_CLIENTS} clients with one picture each`, [
    ...rows,
    { what: 'REST, images/s', value: rate },
    { what: `REST against the bare engine at batch ${best.batch}`, value: rate / best.rate, target: `at least ${TARGET_SPEED}` },
    { what: 'latency, median ms', value: latency.medianMs },
    { what: 'latency, p99 ms', value: latency.p99Ms },
    { what: 'pictures a run of the device', value: median(turns.map(({ imagesPerRun }) => imagesPerRun)) },
    {
      what: 'event-loop delay of the server, p99 ms',
      value: Math.max(...turns.map(({ eventLoopDelayMs }) => eventLoopDelayMs)),
      target: `below ${TARGET_DELAY_MS}`,
    },
  ])
})

/** All clients at once for a while. What is answered in the first moments, while batches are still forming, is not counted. */
async function serve({ origin, model }: ServedModel, images: readonly string[], seconds: number): Promise<Turn> {
  const watcher = new Client(origin)
  // each reading begins a new interval of the event-loop delay
  const before = await metricsOf(watcher)
  const latencyMs: number[] = []
  const from = performance.now() + RAMP_MS
  const to = from + seconds * 1000
  let next = 0
  let nAnswered = 0
  await Promise.all(
    Array.from({ length: N_CLIENTS }, async () => {
      const client = new Client(origin)
      for (let now = performance.now(); now < to; ) {
        const sent = now
        await client.post('/v1/forward', { model, inputs: [{ image: images[next++ % images.length]! }] })
        now = performance.now()
        nAnswered++
        if (now >= from && now < to) latencyMs.push(now - sent)
      }
      client.close()
    }),
  )
  const after = await metricsOf(watcher)
  watcher.close()
  return {
    imagesPerSecond: latencyMs.length / seconds,
    latencyMs,
    imagesPerRun: nAnswered / (after.runs - before.runs),
    eventLoopDelayMs: after.eventLoopDelayMs,
  }
}

async function bareEngine() {
  const graph = visionGraph(vitB32)
  const backend = await benchBackend()
  const weights = await backend.upload(randomWeights(shapesOf(graph)))
  const program = await backend.compile(graph)
  const inputs = new Map(BATCHES.map((batch) => [batch, { pixels: pictures(batch) }]))
  return (batch: number) => program.run({ inputs: inputs.get(batch)!, weights, fetch: graph.outputs })
}

function median(values: readonly number[]): number {
  return summarise(values).medianMs
}

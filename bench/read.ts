/** Reading `blocks.*.hook_resid_post` of 8 pictures as npz over REST: what it takes beyond the run itself. */

import { Client } from './support/client.js'
import { summarise } from './support/measure.js'
import { withServer } from './support/server.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { uploadPictures } from './support/uploads.js'

const TARGET_MS = 20
const BATCH = 8

await withServer(async ({ origin, model }) => {
  const client = new Client(origin)
  const ids = await uploadPictures(client, BATCH)
  const request = { model, inputs: ids.map((image) => ({ image })), read: ['blocks.*.hook_resid_post'] }
  const read = async () => {
    const began = performance.now()
    const { body, receivedAt, timings } = await client.post('/v1/forward', request, { accept: 'application/x-npz' })
    return { wall: receivedAt - began, total: timings.total!, run: timings.run!, bytes: body.byteLength }
  }
  for (let i = 0; i < 3; i++) await read()
  const samples: Awaited<ReturnType<typeof read>>[] = []
  for (const end = performance.now() + seconds * 1000; performance.now() < end || samples.length < 5; ) samples.push(await read())
  client.close()

  const row = (what: string, ms: (sample: (typeof samples)[number]) => number, target: number | string = '') => {
    const { medianMs, p99Ms, n } = summarise(samples.map(ms))
    return { what, 'median ms': medianMs, 'p99 ms': p99Ms, 'target ms': target, n }
  }
  report(`Reading blocks.*.hook_resid_post of ${BATCH} pictures as npz (${(samples[0]!.bytes / 1e6).toFixed(1)} MB)`, [
    row('the run itself', ({ run }) => run),
    row('beyond it, until the client has the last byte', ({ wall, run }) => wall - run, TARGET_MS),
    row('of that, in the server before the first byte', ({ total, run }) => total - run),
  ])
})

/**
 * Pictures over REST: a heatmap of 49 patches over a photograph of 640 x 480, drawn for each request (the photograph itself is kept, as it is
 * while somebody clicks through features); the same where the photograph is new; thumbnails that were asked for before.
 */

import { Client } from './support/client.js'
import { summarise } from './support/measure.js'
import { withServer } from './support/server.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { uploadPictures } from './support/uploads.js'

const TARGET_MS = 15
const SIDE = 7
const NEW_PICTURES = 24

await withServer(async ({ origin, model }) => {
  const client = new Client(origin)
  const ids = await uploadPictures(client, NEW_PICTURES)
  let draws = 0
  /** Never the same numbers twice, so that nothing but the photograph can be kept. */
  const heatmap = (image: string, choice: object) => {
    const values = Array.from({ length: SIDE }, (_, row) => Array.from({ length: SIDE }, (_, column) => Math.sin(row * column + draws)))
    draws++
    return client.post('/v1/heatmap', { model, image, values, cls: 0.5, ...choice }, { accept: 'image/png' })
  }
  const timed = async (what: () => Promise<unknown>) => {
    const began = performance.now()
    await what()
    return performance.now() - began
  }
  const row = async (name: string, what: () => Promise<unknown>, target: number | '' = '') => {
    for (let i = 0; i < 5; i++) await what()
    const times: number[] = []
    for (const end = performance.now() + seconds * 250; performance.now() < end || times.length < 10; ) times.push(await timed(what))
    return rowOf(name, times, target)
  }
  const rowOf = (what: string, times: readonly number[], target: number | '' = '') => {
    const { medianMs, p99Ms, n } = summarise(times)
    return { what, 'median ms': medianMs, 'p99 ms': p99Ms, 'target ms': target, n }
  }
  const firsts: number[] = []
  for (const id of ids) firsts.push(await timed(() => heatmap(id, {})))
  const [id] = ids as [string]
  const rows = [
    await row('heatmap, 224 pixels', () => heatmap(id, {}), TARGET_MS),
    await row('heatmap, 448 pixels', () => heatmap(id, { size: 448 })),
    await row('contours, 224 pixels', () => heatmap(id, { mode: 'contour' })),
    await row('colours alone, 224 pixels', () => heatmap(id, { mode: 'raw' })),
    rowOf('heatmap, 224 pixels, of a photograph that is new', firsts),
    await row('thumbnail, 224 pixels, as before', () => client.get(`/v1/images/${id}?size=224`), TARGET_MS),
    await row('thumbnail, of another size each time', () =>
      client.get(`/v1/images/${ids[draws % ids.length]}?size=${100 + (draws++ % 900)}`),
    ),
  ]
  client.close()
  report('Pictures', rows)
})

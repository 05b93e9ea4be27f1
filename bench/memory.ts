/**
 * Memory of a served ViT-B/32: the server process after its start, with the model loaded, after batches of 8, and with a second structure.
 * The embedded database is processes of its own, in rows of their own. Linux only (/proc).
 */

import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './support/client.js'
import { childrenOf, memoryOf } from './support/process-memory.js'
import { withServer } from './support/server.js'
import { sharedFolder } from './support/settings.js'
import { report } from './support/table.js'
import { uploadPictures } from './support/uploads.js'
import { modelFolder } from './support/vit-b-32.js'

const MB = 1e6
const BESIDE_WEIGHTS_MB = 300
const SECOND_STRUCTURE_MB = 20
const BATCH = 8
const REPEATS = 5
/** For the collector and the allocator to give back what they are going to. */
const SETTLE_MS = 2000

const weightsMb = fs.statSync(`${modelFolder(sharedFolder())}/model.safetensors`).size / MB

await withServer(async ({ origin, pid, dataDir, model }) => {
  const client = new Client(origin)
  const stage = async (what: string) => {
    await sleep(SETTLE_MS)
    const { rss, pss, peak } = memoryOf(pid)
    return { what, 'RSS MB': rss / MB, 'PSS MB': pss / MB, 'peak RSS MB': peak / MB }
  }
  const forward = async (images: readonly string[], more: object = {}) => {
    for (let i = 0; i < REPEATS; i++) await client.post('/v1/forward', { model, inputs: images.map((image) => ({ image })), ...more })
  }

  const started = await stage('started')
  const ids = await uploadPictures(client, BATCH)
  await forward(ids.slice(0, 1))
  const loaded = await stage('model loaded, batch 1')
  await forward(ids)
  const batch = await stage(`batch ${BATCH}`)
  await forward(ids, { edits: [{ hookPoint: 'blocks.5.hook_resid_post', op: 'scale', strength: 0.5 }] })
  const second = await stage('a second structure (an edit)')
  await forward(ids, { read: ['blocks.*.hook_resid_post'], output: false, encoding: 'base64' })
  const read = await stage('a third, reading 12 hook points (kept for whoever comes back)')
  const postmaster = postmasterOf(dataDir)
  const database = [postmaster, ...childrenOf(postmaster)].map((process) => memoryOf(process).pss)
  client.close()

  const beside = (row: { 'RSS MB': number }) => row['RSS MB'] - weightsMb
  report(`Memory of a served ViT-B/32 (${weightsMb.toFixed(0)} MB of weights)`, [
    started,
    { ...loaded, 'beside the weights MB': beside(loaded), 'target MB': BESIDE_WEIGHTS_MB },
    { ...batch, 'beside the weights MB': beside(batch), 'target MB': BESIDE_WEIGHTS_MB },
    { ...second, 'more than before MB': second['RSS MB'] - batch['RSS MB'], 'target MB': SECOND_STRUCTURE_MB },
    { ...read, 'more than before MB': read['RSS MB'] - second['RSS MB'] },
    { what: `the database, ${database.length} processes`, 'PSS MB': database.reduce((sum, pss) => sum + pss, 0) / MB },
  ])
})

/** The database's first process, which is no child of the server: it outlives it when it must. */
function postmasterOf(dataDir: string): number {
  const files = fs.readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
  const file = files.find((name) => path.basename(name) === 'postmaster.pid')
  if (!file) throw new Error(`There is no database in ${dataDir}`)
  return Number(fs.readFileSync(path.join(dataDir, file), 'utf8').split('\n')[0])
}

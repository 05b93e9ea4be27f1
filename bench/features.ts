/**
 * `POST /v1/features`: one picture by id, the 64 most active features of each position of a 49,152-wide SAE at layer 9 of ViT-B/32, warm,
 * against the bare graph: the same program (the model up to the hook point, the encoder, the selection) run in this process, without host,
 * queue, HTTP and JSON. Random weights of both.
 */

import path from 'node:path'
import type { SaeRead } from '../src/engine/host/host.js'
import { fetchedValues, planStructure } from '../src/engine/host/planned-structure.js'
import { structureOf } from '../src/engine/host/structure-key.js'
import { builtTowers } from '../src/engine/interventions/built-towers.js'
import { loadModel } from '../src/engine/models/load.js'
import { saePrefix } from '../src/engine/saes/attach-saes.js'
import { type SaeConfig, saeParameters } from '../src/engine/saes/sae.js'
import { saveSae } from '../src/engine/saes/save-sae.js'
import { benchBackend } from './support/backend.js'
import { Client } from './support/client.js'
import { interleave, summarise } from './support/measure.js'
import { withServer } from './support/server.js'
import { seconds, sharedFolder } from './support/settings.js'
import { report } from './support/table.js'
import { uploadPictures } from './support/uploads.js'
import { modelFolder, pictures, randomWeights, vitB32 } from './support/vit-b-32.js'

const TARGET = 1.25
const TOP_K = 64
const SAE = 'clip-vit-b-32-random.9-resid-post.bench'
const config: SaeConfig = {
  ...{ architecture: 'standard', activation: 'relu', normalization: 'none', subtractsDecoderBias: true },
  ...{ dIn: vitB32.dModel, dOut: vitB32.dModel, dSae: 64 * vitB32.dModel, hookPoint: 'blocks.9.hook_resid_post' },
}

const weights = randomWeights(saeParameters(config))
const folder = path.join(sharedFolder(), 'sae-49152')
await saveSae(folder, { config, weights }, { layout: 'refract', replace: true })

await withServer(
  async ({ origin }) => {
    const client = new Client(origin)
    const [image] = await uploadPictures(client, 1)
    const beyondRun: number[] = []
    const ask =
      (more: object, headers = {}) =>
      async () => {
        const sent = performance.now()
        const answer = await client.post('/v1/features', { saes: [SAE], inputs: [{ image }], topK: TOP_K, ...more }, headers)
        beyondRun.push(answer.receivedAt - sent - answer.timings.run!)
      }
    const bare = { both: await bareGraph(TOP_K), perPosition: await bareGraph(0) }
    const times = await interleave(
      {
        bare: bare.both,
        rest: ask({}),
        npz: ask({}, { accept: 'application/x-npz' }),
        'bare, per position': bare.perPosition,
        'rest, per position': ask({ imageTopK: 0 }),
      },
      { seconds, warmUps: 3 },
    )
    const ms = (name: keyof typeof times) => times[name].medianMs
    report(`POST /v1/features, 1 picture, ${config.dSae} features, top ${TOP_K}, warm`, [
      { what: 'bare graph, per position and per image, ms', value: ms('bare') },
      { what: 'REST, JSON, ms', value: ms('rest') },
      { what: 'REST, JSON, against the bare graph', value: ms('rest') / ms('bare'), target: `at most ${TARGET}` },
      { what: 'REST, npz, against the bare graph', value: ms('npz') / ms('bare'), target: `at most ${TARGET}` },
      { what: 'bare graph, per position only, ms', value: ms('bare, per position') },
      {
        what: 'REST, JSON, per position only, against the bare graph',
        value: ms('rest, per position') / ms('bare, per position'),
        target: `at most ${TARGET}`,
      },
      { what: 'REST, JSON, p99 ms', value: times.rest.p99Ms },
      { what: 'beyond the run of the device, median ms', value: summarise(beyondRun).medianMs },
    ])
    client.close()
  },
  { saes: { [SAE]: folder } },
)

async function bareGraph(imageTopK: number): Promise<() => Promise<unknown>> {
  const backend = await benchBackend()
  const { description, towers } = await loadModel(modelFolder(sharedFolder()))
  const read: SaeRead = { sae: { key: 'sae', folder, overrides: {} }, topK: TOP_K, imageTopK }
  const structure = structureOf({
    ...{ model: { key: 'vit-b-32', folder: '', processing: [] }, read: [], edits: [], output: false, saes: [read] },
    inputs: { kind: 'pixels', pixels: pictures(1) },
  })
  const { planned, graph } = planStructure(builtTowers(description.vision, towers.vision.buildGraph), structure, [config])
  const program = await backend.compile(graph)
  const both = backend.combine([
    { prefix: '', weights: await backend.upload(towers.vision.weights) },
    { prefix: saePrefix(0), weights: await backend.upload(weights) },
  ])
  const inputs = { [planned.input.name]: pictures(1) }
  return () => program.run({ inputs, weights: both, fetch: fetchedValues(planned) })
}

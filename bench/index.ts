/**
 * Indexing one SAE of 49,152 latents on ViT-B/32 (random weights): pictures a second against the sum of the bare forward pass and the bare encoder,
 * and against a PyTorch loop that keeps the same statistics. The encoder's bias makes as many latents active as in published SAEs (about 1,000 a
 * token), or k of them in a top-k SAE. Everything reads the last block, so that the whole model runs.
 */

import { createOnnxRuntimeBackend } from '../src/engine/backends/onnxruntime/backend.js'
import { type IndexShards, openFeatureIndexer } from '../src/engine/evaluation/index-features.js'
import { defaultSampledPerPicture } from '../src/engine/evaluation/index-shard.js'
import type { StudiedSae } from '../src/engine/evaluation/studied-sae.js'
import { visionGraph } from '../src/engine/models/vit.js'
import type { SaeConfig } from '../src/engine/saes/sae.js'
import { encoderGraph } from '../src/engine/saes/sae-graph.js'
import { interleave } from './support/measure.js'
import { peer } from './support/peer.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'

const AGAINST_PARTS = 0.85
const AGAINST_PYTORCH = 1.2

const [dIn, dSae, batch, nPictures, nTokens] = [768, Number(process.env.BENCH_LATENTS ?? 49_152), 8, 50_000, 50]
const k = 64

const backend = await createOnnxRuntimeBackend()
const graph = visionGraph(vitB32)
const weights = randomWeights(shapesOf(graph))
const modelWeights = await backend.upload(weights)
const model = await backend.compile(graph, { workspace: 'kept' })
const pixels = pictures(batch)
const x = randomTensor([batch * nTokens, dIn], { scale: 1, seed: 3 })

const shared = {
  dIn,
  dOut: dIn,
  dSae,
  normalization: 'layer_norm',
  subtractsDecoderBias: true,
  hookPoint: 'blocks.11.hook_resid_post',
} as const
const saeWeights = {
  W_enc: randomTensor([dIn, dSae], { scale: 1 / Math.sqrt(dIn), seed: 1 }),
  W_dec: randomTensor([dSae, dIn], { scale: 1 / Math.sqrt(dIn), seed: 2 }),
  // 2 % of a normal distribution lie above.
  b_enc: { dtype: 'float32', shape: [dSae], data: new Float32Array(dSae).fill(-2.05) },
  b_dec: { dtype: 'float32', shape: [dIn], data: new Float32Array(dIn) },
} as const
const configs: Record<string, SaeConfig> = {
  relu: { ...shared, architecture: 'standard', activation: 'relu' },
  'top-64': { ...shared, architecture: 'topk', activation: 'topk', k },
}

const rows = []
for (const [name, config] of Object.entries(configs)) {
  const encoder = encoderGraph(config)
  const encoderWeights = await backend.upload(
    Object.fromEntries(Object.keys(encoder.parameters).map((each) => [each, saeWeights[each as 'W_enc']])),
  )
  const encode = await backend.compile(encoder, { workspace: 'kept' })
  const sae: StudiedSae = { id: name, config, weights: saeWeights, positions: 'all' }
  const tower = { buildGraph: () => graph, weights }
  const sampledPerPicture = defaultSampledPerPicture(nPictures, nTokens)
  const indexer = await openFeatureIndexer({ backend, tower, config: vitB32, saes: [sae], seed: 1, sampledPerPicture })
  let shards: IndexShards = indexer.empty()
  let at = 0
  const index = async () => {
    const items = Array.from({ length: batch }, (_, picture) => at * batch + picture)
    shards = await indexer.addBatch(shards, { batch: at++, items, pixels })
  }
  // What every feature sees first fills its lists; afterwards few pictures enter them.
  for (let warm = 0; warm < 4; warm++) await index()
  const ours = await interleave(
    {
      forward: () => model.run({ inputs: { pixels }, weights: modelWeights, fetch: graph.outputs }),
      encode: () => encode.run({ inputs: { x }, weights: encoderWeights, fetch: encoder.outputs }),
      index,
    },
    { seconds },
  )
  const theirs = peer('index_features.py', [
    '--batch',
    String(batch),
    '--latents',
    String(dSae),
    '--seconds',
    String(seconds),
    ...(config.k ? ['--k', String(k)] : []),
  ])
  const fastest = theirs?.reduce((best, each) => (each.medianMs < best.medianMs ? each : best))
  rows.push({
    SAE: name,
    'forward ms': ours.forward.medianMs,
    'encode ms': ours.encode.medianMs,
    'index ms': ours.index.medianMs,
    'images/s': (1000 * batch) / ours.index.medianMs,
    'against forward + encode': (ours.forward.medianMs + ours.encode.medianMs) / ours.index.medianMs,
    'target against forward + encode': AGAINST_PARTS,
    ...(fastest
      ? {
          PyTorch: fastest.how,
          'PyTorch ms': fastest.medianMs,
          'against PyTorch': fastest.medianMs / ours.index.medianMs,
          'target against PyTorch': AGAINST_PYTORCH,
        }
      : { PyTorch: 'not measured: set BENCH_PYTHON' }),
  })
  await Promise.all([indexer.dispose(), encode.dispose(), encoderWeights.dispose()])
}
report(`Indexing an SAE of ${dSae} latents on ViT-B/32, batches of ${batch}`, rows)

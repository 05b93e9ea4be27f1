/**
 * A steered forward pass, warm: ViT-B/32 (random weights) with an edit on features of an SAE of 49,152 latents at block 9, against the plain forward pass
 * plus one encoding and one decoding of its tokens by the same SAE.
 */

import { hookPointsOf } from '../src/engine/hook-points.js'
import { applyEdits, editInputs } from '../src/engine/interventions/apply-edits.js'
import type { Edit } from '../src/engine/interventions/edit.js'
import { visionGraph } from '../src/engine/models/vit.js'
import { type SaeConfig, saeParameters } from '../src/engine/saes/sae.js'
import { saeGraph } from '../src/engine/saes/sae-graph.js'
import { benchBackend } from './support/backend.js'
import { interleave } from './support/measure.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'

const AT_MOST = 1.1
const hookPoint = 'blocks.9.hook_resid_post'
const nTokens = 50
const prefix = 'saes[0].'
const features = [3, 1234, 40_000].map((feature) => ({ feature, strength: 4 }))

const plain: SaeConfig = {
  ...{ architecture: 'standard', activation: 'relu', dIn: 768, dOut: 768, dSae: 49_152 },
  ...{ normalization: 'none', subtractsDecoderBias: true, hookPoint },
}
const topK: SaeConfig = { ...plain, architecture: 'topk', activation: 'topk', k: 64 }
const cases: readonly (readonly [string, SaeConfig, Edit])[] = [
  ['add', plain, { hookPoint, op: 'feature-add', sae: 0, features }],
  ['scale', plain, { hookPoint, op: 'feature-scale', sae: 0, features }],
  ['scale, top-k', topK, { hookPoint, op: 'feature-scale', sae: 0, features }],
  ['scale, error dropped', plain, { hookPoint, op: 'feature-scale', sae: 0, features, keepError: false }],
  ['scale, top-k, error dropped', topK, { hookPoint, op: 'feature-scale', sae: 0, features, keepError: false }],
]

const backend = await benchBackend()
const graph = visionGraph(vitB32)
const model = await backend.upload(randomWeights(shapesOf(graph)))
const sae = await backend.upload(randomWeights(saeParameters(plain), 0.03))
const both = backend.combine([
  { prefix: '', weights: model },
  { prefix, weights: sae },
])
const forward = await backend.compile(graph)

const rows = []
for (const batch of [1, 8]) {
  const pixels = pictures(batch)
  for (const [name, config, edit] of cases) {
    const tower = { config: vitB32, hookPoints: hookPointsOf(vitB32), saes: [{ config, prefix, name: 'wide' }] }
    const steered = await backend.compile(applyEdits(graph, [edit], tower).graph)
    const reconstruction = await backend.compile(saeGraph(config))
    const x = randomTensor([batch * nTokens, 768], { scale: 1, seed: 5 })
    const inputs = { pixels, ...editInputs([edit], tower, batch) }
    const ms = await interleave(
      {
        steered: () => steered.run({ inputs, weights: both, fetch: graph.outputs }),
        forward: () => forward.run({ inputs: { pixels }, weights: model, fetch: graph.outputs }),
        reconstruction: () => reconstruction.run({ inputs: { x }, weights: sae, fetch: ['reconstruction'] }),
      },
      { seconds: seconds / 4 },
    )
    const parts = ms.forward.medianMs + ms.reconstruction.medianMs
    rows.push({
      batch,
      edit: name,
      'steered ms': ms.steered.medianMs,
      'forward ms': ms.forward.medianMs,
      'encode and decode ms': ms.reconstruction.medianMs,
      'steered / sum': ms.steered.medianMs / parts,
      'at most': AT_MOST,
    })
    for (const program of [steered, reconstruction]) await program.dispose()
  }
}
report('Steered forward, ViT-B/32 and an SAE of 49,152 latents', rows)

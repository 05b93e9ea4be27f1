/**
 * Training an SAE end to end (ViT-B/32 with random weights, 768 to 6144, batches of 1024 tokens) against the sum of its parts: the model up to
 * the hook point, and the step by itself. What is beyond is the shuffle buffer's.
 */

import { visionGraph } from '../src/engine/models/vit.js'
import { createRandom } from '../src/engine/random.js'
import { openActivationSource } from '../src/engine/training/saes/activation-source.js'
import { createActivationStream } from '../src/engine/training/saes/activation-stream.js'
import { initializeSae } from '../src/engine/training/saes/initialize.js'
import { SaeStepper } from '../src/engine/training/saes/sae-stepper.js'
import { benchBackend } from './support/backend.js'
import { interleave } from './support/measure.js'
import { sae768, sae768Step, saeBatch } from './support/sae-768.js'
import { seconds } from './support/settings.js'
import { report } from './support/table.js'
import { pictures, randomTensor, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'

const PICTURES = 32
const MOST_OF_PARTS = 1.3
const { hookPoint } = sae768

const backend = await benchBackend()
const buildGraph = (wanted: ReadonlySet<string>) => visionGraph(vitB32, wanted)
const weights = randomWeights(shapesOf(buildGraph(new Set())))
const source = await openActivationSource({
  backend,
  tower: { buildGraph, weights },
  config: vitB32,
  reads: [{ hookPoint }],
  positions: 'all',
})
const batch = { pixels: pictures(PICTURES) }
const stream = createActivationStream({
  source,
  pictures: { at: async () => batch },
  picturesPerBatch: PICTURES,
  batchSize: saeBatch,
  bufferBytes: 128 * 2 ** 20,
  random: createRandom(0),
})
const x = randomTensor([saeBatch, 768], { scale: 1, seed: 1 })
const stepper = await SaeStepper.create(backend, sae768Step, { weights: initializeSae(sae768, { inputs: x.data }, createRandom(0)) })

// The stream works in windows: what it costs shows over many of them, not in one batch.
const nBatches = 2 * Math.ceil(stream.rowsPerWindow / saeBatch)
const learningRate = 1e-4
let step = 0
await stream.at(0)
const began = performance.now()
for (let at = 1; at <= nBatches; at++) await stepper.update(await stream.at(at), { step: step++, learningRate })
const endToEnd = (performance.now() - began) / nBatches

const parts = await interleave(
  { model: () => source.read(batch.pixels), step: () => stepper.update({ [hookPoint]: x }, { step: step++, learningRate }) },
  { seconds },
)
const modelMs = (parts.model.medianMs * saeBatch) / (PICTURES * source.rowsPerPicture)
const sum = modelMs + parts.step.medianMs
report('Training an SAE on ViT-B/32, end to end', [
  { what: `the model, for ${saeBatch} tokens`, ms: modelMs },
  { what: 'the step', ms: parts.step.medianMs },
  { what: 'both', ms: sum },
  { what: 'end to end', ms: endToEnd, 'of both': endToEnd / sum, 'at most': MOST_OF_PARTS },
])

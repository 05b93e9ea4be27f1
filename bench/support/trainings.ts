/** The trainings that are measured step by step: an SAE (768 to 6144, batch 1024, standard L1, Adam) and the emoji classifier's ViT (batch 128, AdamW). */

import type { Backend } from '../../src/engine/backends/backend.js'
import type { VisionConfig } from '../../src/engine/models/model.js'
import { createRandom } from '../../src/engine/random.js'
import { tensor } from '../../src/engine/tensor.js'
import { initialWeights, objectiveGraph } from '../../src/engine/training/model-objective.js'
import { initializeSae } from '../../src/engine/training/saes/initialize.js'
import { SaeStepper } from '../../src/engine/training/saes/sae-stepper.js'
import { Stepper } from '../../src/engine/training/stepper.js'
import { sae768, sae768Step, saeBatch } from './sae-768.js'
import { randomTensor, vitB32 } from './vit-b-32.js'

/** One step at each call. */
export async function saeTraining(backend: Backend, decoderRows: 'free' | 'unit' = 'free'): Promise<() => Promise<unknown>> {
  const x = randomTensor([saeBatch, 768], { scale: 1, seed: 1 })
  const weights = initializeSae(sae768, { inputs: x.data }, createRandom(0))
  const stepper = await SaeStepper.create(backend, { ...sae768Step, decoderRows }, { weights })
  let step = 0
  return () => stepper.update({ [sae768.hookPoint]: x }, { step: step++, learningRate: 1e-4 })
}

/** One step at each call. */
export async function vitTraining(backend: Backend): Promise<() => Promise<unknown>> {
  const vision: VisionConfig = {
    ...vitB32,
    ...{ nLayers: 6, dModel: 128, nHeads: 4, dHead: 32, dMlp: 512, normEps: 1e-6, patchBias: true, lnPre: false },
    imageSize: { height: 64, width: 64 },
    patchSize: { height: 8, width: 8 },
    head: { kind: 'classes', dOut: 98, bias: true },
  }
  const objective = { kind: 'classification', vision } as const
  const graph = objectiveGraph(objective)
  const stepper = await Stepper.create({
    backend,
    graph,
    loss: 'loss',
    trainable: Object.keys(graph.parameters),
    optimizer: { kind: 'adamw', weightDecay: 0.05 },
    clipNorm: 1,
    weights: initialWeights(objective, createRandom(0)),
  })
  const labels = BigInt64Array.from({ length: 128 }, (_, row) => BigInt(row % 98))
  const batch = { pixels: randomTensor([128, 3, 64, 64], { scale: 1, seed: 2 }), labels: tensor('int64', [128], labels) }
  return () => stepper.update(batch, 1e-4)
}

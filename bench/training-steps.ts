/**
 * A training step of an SAE (768 to 6144, batch 1024, standard L1, Adam) and of the emoji classifier's ViT (batch 128, AdamW), each against the
 * same step in PyTorch on the CPU at its fastest.
 */

import type { VisionConfig } from '../src/engine/models/model.js'
import { createRandom } from '../src/engine/random.js'
import { tensor } from '../src/engine/tensor.js'
import { initialWeights, objectiveGraph } from '../src/engine/training/model-objective.js'
import { initializeSae } from '../src/engine/training/saes/initialize.js'
import { SaeStepper } from '../src/engine/training/saes/sae-stepper.js'
import { Stepper } from '../src/engine/training/stepper.js'
import { benchBackend } from './support/backend.js'
import { interleave } from './support/measure.js'
import { type PeerRow, peer } from './support/peer.js'
import { sae768, sae768Step, saeBatch } from './support/sae-768.js'
import { seconds } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { randomTensor, vitB32 } from './support/vit-b-32.js'

const backend = await benchBackend()
const rows: Row[] = []

const x = randomTensor([saeBatch, 768], { scale: 1, seed: 1 })
for (const decoderRows of ['free', 'unit'] as const) {
  const stepper = await saeStepper(decoderRows)
  let step = 0
  rows.push(
    await against({
      what: `SAE 768 to 6144, batch 1024, decoder rows ${decoderRows}`,
      run: () => stepper.update({ [sae768.hookPoint]: x }, { step: step++, learningRate: 1e-4 }),
      peerArguments: ['sae', '--rows', decoderRows],
      target: decoderRows === 'free' ? 1 : undefined,
    }),
  )
}

const vit = await vitStepper()
const batch = {
  pixels: randomTensor([128, 3, 64, 64], { scale: 1, seed: 2 }),
  labels: tensor(
    'int64',
    [128],
    BigInt64Array.from({ length: 128 }, (_, row) => BigInt(row % 98)),
  ),
}
rows.push(await against({ what: 'emoji ViT, batch 128', run: () => vit.update(batch, 1e-4), peerArguments: ['vit'], target: 0.8 }))
report('A training step', rows)

async function against({
  what,
  run,
  peerArguments,
  target,
}: {
  what: string
  run: () => Promise<unknown>
  peerArguments: readonly string[]
  target: number | undefined
}): Promise<Row> {
  const args = [...peerArguments, '--seconds', String(seconds)]
  const before = peer('training_steps.py', args)
  const { ours } = await interleave({ ours: run }, { seconds: 2 * seconds, warmUps: 3 })
  const after = peer('training_steps.py', args)
  const own = { what, 'ours ms': ours.medianMs, 'steps/s': 1000 / ours.medianMs, ...(target !== undefined && { target }) }
  if (!before || !after) return { ...own, PyTorch: 'not measured: set BENCH_PYTHON' }
  const { how, ms } = fastest([...before, ...after])
  return { ...own, 'PyTorch ms': ms, 'its fastest': how, 'speed against it': ms / ours.medianMs }
}

/** The way with the smallest mean of its medians. */
function fastest(peers: readonly PeerRow[]): { readonly how: string; readonly ms: number } {
  const ways = [...new Set(peers.map(({ how }) => how))].map((how) => {
    const own = peers.filter((row) => row.how === how)
    return { how, ms: own.reduce((sum, { medianMs }) => sum + medianMs, 0) / own.length }
  })
  return ways.reduce((best, way) => (way.ms < best.ms ? way : best))
}

function saeStepper(decoderRows: 'free' | 'unit'): Promise<SaeStepper> {
  return SaeStepper.create(backend, { ...sae768Step, decoderRows }, { weights: initializeSae(sae768, { inputs: x.data }, createRandom(0)) })
}

function vitStepper(): Promise<Stepper> {
  const vision: VisionConfig = {
    ...vitB32,
    ...{ nLayers: 6, dModel: 128, nHeads: 4, dHead: 32, dMlp: 512, normEps: 1e-6, patchBias: true, lnPre: false },
    imageSize: { height: 64, width: 64 },
    patchSize: { height: 8, width: 8 },
    head: { kind: 'classes', dOut: 98, bias: true },
  }
  const objective = { kind: 'classification', vision } as const
  const graph = objectiveGraph(objective)
  return Stepper.create({
    backend,
    graph,
    loss: 'loss',
    trainable: Object.keys(graph.parameters),
    optimizer: { kind: 'adamw', weightDecay: 0.05 },
    clipNorm: 1,
    weights: initialWeights(objective, createRandom(0)),
  })
}

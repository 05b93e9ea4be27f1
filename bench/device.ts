/**
 * What a device makes of it, from the host's memory to the host's memory, against PyTorch on the same device at its fastest: the forward pass of CLIP
 * ViT-B/32 and ViT-L/14 (random weights) with every hook point exposed, an SAE's encoder with top-k, a steered forward pass, a sweep, training steps.
 * `BENCH_BATCHES` are the pictures at once: 1, 32 and 256 on an accelerator, 1 and 8 on the CPU.
 */

import { sweep } from '../src/engine/analyses/steering/sweep.js'
import { GraphBuilder } from '../src/engine/graph/builder.js'
import { expose } from '../src/engine/graph/edit.js'
import { hookPointsOf } from '../src/engine/hook-points.js'
import { applyEdits, editInputs } from '../src/engine/interventions/apply-edits.js'
import type { Edit } from '../src/engine/interventions/edit.js'
import type { VisionConfig } from '../src/engine/models/model.js'
import { visionGraph } from '../src/engine/models/vit.js'
import { readCodes } from '../src/engine/saes/read-codes.js'
import { type SaeConfig, saeParameters } from '../src/engine/saes/sae.js'
import { computesInFloat32, onAccelerator, peerDevice } from './support/backend.js'
import { besidePeer } from './support/beside-peer.js'
import { seconds } from './support/settings.js'
import { sweepInput } from './support/sweep-input.js'
import { type Row, report } from './support/table.js'
import { saeTraining, vitTraining } from './support/trainings.js'
import { pictures, randomTensor, randomWeights, shapesOf, vitB32 } from './support/vit-b-32.js'
import { benchedModel } from './support/workbench.js'

const hookPoint = 'blocks.9.hook_resid_post'
const [nTokens, k] = [50, 64]
const batches = (process.env.BENCH_BATCHES ?? (onAccelerator ? '1,32,256' : '1,8')).split(',').map(Number)
const most = Math.max(...batches)

const vitL14: VisionConfig = {
  ...vitB32,
  ...{ nLayers: 24, dModel: 1024, nHeads: 16, dMlp: 4096, patchSize: { height: 14, width: 14 } },
  head: { kind: 'projection', dOut: 768, bias: false },
}
const topK: SaeConfig = {
  ...{ architecture: 'topk', activation: 'topk', k, dIn: 768, dOut: 768, dSae: 49_152 },
  ...{ normalization: 'none', subtractsDecoderBias: true, hookPoint },
}

const model = await benchedModel()
const { backend } = model
const rows: Row[] = []

for (const [name, config] of [
  ['vit-b-32', vitB32],
  ['vit-l-14', vitL14],
] as const) {
  const graph = visionGraph(config)
  const exposed = expose(
    graph,
    graph.hookPoints.map((point) => point.name),
  )
  const weights = config === vitB32 ? model.weights : await backend.upload(randomWeights(shapesOf(graph)))
  const program = await backend.compile(exposed)
  for (const batch of batches) {
    const inputs = { pixels: pictures(batch) }
    const run = () => program.run({ inputs, weights, fetch: graph.outputs })
    rows.push(await against(`forward of ${name}, batch ${batch}`, run, ['forward', '--model', name, '--batch', String(batch)]))
  }
  await program.dispose()
  if (weights !== model.weights) await weights.dispose()
}

rows.push(await against(`SAE of 49,152, top ${k} of ${most * nTokens} tokens`, await encoder(), ['encode', '--batch', String(most)]))
rows.push(await against(`steered forward of vit-b-32, batch ${most}`, await steered(), ['steer', '--batch', String(most)]))
const bench = model.open()
let seed = 0
rows.push(await against('sweep of 5 directions x 21 strengths, one picture', () => sweep.run(bench, sweepInput(++seed)), ['sweep']))
if (computesInFloat32) {
  rows.push(await against('training step of an SAE, 768 to 6144, batch 1024', await saeTraining(backend), ['sae'], 'training_steps.py'))
  rows.push(await against('training step of the emoji ViT, batch 128', await vitTraining(backend), ['vit'], 'training_steps.py'))
}
report('On a device, against PyTorch there', rows)

async function against(what: string, run: () => Promise<unknown>, task: readonly string[], script = 'device.py'): Promise<Row> {
  const args = peerDevice && [...task, ...peerDevice]
  const { ours, theirs } = await besidePeer(run, { script, args, seconds: seconds / 2 })
  return { what, 'ours ms': ours.medianMs, ...theirs }
}

async function encoder() {
  const b = new GraphBuilder('sae codes')
  const x = b.input('x', 'float32', ['batch', nTokens, topK.dIn])
  const { tokens } = readCodes(b, x, { config: topK, prefix: '', topK: k, imageTopK: 0 })
  const program = await backend.compile(b.build([tokens!.activations, tokens!.latents]))
  const weights = await backend.upload(randomWeights(saeParameters(topK), 0.03))
  const inputs = { x: randomTensor([most, nTokens, topK.dIn], { scale: 1, seed: 5 }) }
  return () => program.run({ inputs, weights, fetch: [tokens!.activations, tokens!.latents] })
}

async function steered() {
  const edit: Edit = { hookPoint, op: 'add', vector: randomTensor([vitB32.dModel], { scale: 1, seed: 7 }).data, strength: 4, unit: 'raw' }
  const tower = { config: vitB32, hookPoints: hookPointsOf(vitB32), saes: [] }
  const program = await backend.compile(applyEdits(model.graph, [edit], tower).graph)
  const inputs = { pixels: pictures(most), ...editInputs([edit], tower, most) }
  return () => program.run({ inputs, weights: model.weights, fetch: model.graph.outputs })
}

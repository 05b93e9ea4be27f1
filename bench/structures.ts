/**
 * What a request costs beyond its run, on the engine's host: of a structure that is new (other hook points edited or read), so that a graph is
 * built and compiled, and of one that is known (other strengths, vectors and pictures). "Beyond the run" is the caller's wall time less the
 * time in the engine's run; as a check, less the time of the bare backend for the same program, in the same process.
 */

import { createEngineHost } from '../src/engine/host/engine-host.js'
import type { EngineHost, ModelSource, RunRequest } from '../src/engine/host/host.js'
import { fetchedValues, planStructure } from '../src/engine/host/planned-structure.js'
import { structureOf } from '../src/engine/host/structure-key.js'
import { editInputs } from '../src/engine/interventions/apply-edits.js'
import { builtTowers } from '../src/engine/interventions/built-towers.js'
import type { Edit } from '../src/engine/interventions/edit.js'
import { loadModel } from '../src/engine/models/load.js'
import { elementCount, type Tensor } from '../src/engine/tensor.js'
import { benchBackend, hostDevices } from './support/backend.js'
import { interleave, summarise } from './support/measure.js'
import { seconds, sharedFolder } from './support/settings.js'
import { type Row, report } from './support/table.js'
import { modelFolder, randomTensor, vitB32 } from './support/vit-b-32.js'

const NEW_MS = 150
const KNOWN_MS = 1

const source: ModelSource = { key: 'vit-b-32', folder: modelFolder(sharedFolder()), processing: [] }
const layers = Array.from({ length: vitB32.nLayers }, (_, layer) => layer)
let nMade = 0

/** Another picture each time, in shared memory as prepared pictures are. */
function request(about: Partial<Pick<RunRequest, 'read' | 'edits'>>): RunRequest {
  const { shape, data } = randomTensor([3, 224, 224], { scale: 1, seed: ++nMade })
  const shared = new Float32Array(new SharedArrayBuffer(4 * elementCount(shape)))
  shared.set(data)
  const picture: Tensor<'float32'> = { dtype: 'float32', shape, data: shared }
  return { model: source, inputs: { kind: 'pictures', pictures: [picture] }, read: [], edits: [], ...about }
}

/** Another vector and another strength each time. */
function add(hookPoint: string): Edit {
  const vector = randomTensor([vitB32.dModel], { scale: 1, seed: ++nMade }).data
  return { hookPoint, op: 'add', vector, strength: 1 + (nMade % 7), unit: 'raw' }
}

/** Where a model is read and edited; each name makes structures of its own. */
const streams = ['hook_resid_pre', 'hook_resid_mid', 'hook_resid_post', 'hook_attn_out', 'hook_mlp_out']

const newStructures: Readonly<Record<string, readonly (() => RunRequest)[]>> = {
  'reading one hook point': layers.map((layer) => () => request({ read: [`blocks.${layer}.hook_resid_mid`] })),
  'editing one hook point': layers.map((layer) => () => request({ edits: [add(`blocks.${layer}.hook_mlp_out`)] })),
  'editing 12 hook points': streams.map((name) => () => request({ edits: layers.map((layer) => add(`blocks.${layer}.${name}`)) })),
}

const knownStructures: Readonly<Record<string, () => RunRequest>> = {
  'nothing read or edited': () => request({}),
  'reading one hook point': () => request({ read: ['blocks.6.hook_resid_mid'] }),
  'editing one hook point': () => request({ edits: [add('blocks.6.hook_mlp_out')] }),
  'editing 12 hook points': () => request({ edits: layers.map((layer) => add(`blocks.${layer}.hook_resid_post`)) }),
}

const host = await createEngineHost({ ...hostDevices(), memoryBytes: 8 * 2 ** 30 })
const bare = await bareBackend()
await host.run(request({}))
await host.run(request({}))

const rows: Row[] = []
for (const [what, makers] of Object.entries(newStructures)) {
  const samples = []
  for (const make of makers) {
    const asked = make()
    const { wall, timings } = await timedRun(host, asked)
    const runBare = await bare(asked)
    const { bare: sample } = await interleave({ bare: runBare.run }, { seconds: 0, warmUps: 1 })
    await runBare.dispose()
    if (timings.compile === 0) throw new Error(`"${what}" was expected to be a new structure`)
    samples.push({ beyondRun: wall - timings.run, beyondBare: wall - sample.medianMs })
  }
  rows.push(row(`new: ${what}`, samples, NEW_MS))
}
for (const [what, make] of Object.entries(knownStructures)) {
  const runBare = await bare(make())
  const beyondRun: number[] = []
  const requests = Array.from({ length: 64 }, make)
  let next = 0
  const served = async () => {
    const { wall, timings } = await timedRun(host, requests[next++ % requests.length]!)
    beyondRun.push(wall - timings.run)
  }
  await served()
  beyondRun.length = 0
  const both = await interleave({ served, bare: runBare.run }, { seconds: seconds / 2 })
  await runBare.dispose()
  const beyondBare = both.served.medianMs - both.bare.medianMs
  rows.push(
    row(
      `known: ${what}`,
      beyondRun.map((ms) => ({ beyondRun: ms, beyondBare })),
      KNOWN_MS,
    ),
  )
}
await host.close()
report('What a request costs beyond its run, ViT-B/32, one picture', rows)

async function timedRun(host: EngineHost, asked: RunRequest) {
  const began = performance.now()
  const { timings } = await host.run(asked)
  return { wall: performance.now() - began, timings }
}

/** Programs on a backend of this thread, without host, queue or planning in the time that is measured. */
async function bareBackend() {
  const backend = await benchBackend()
  const { description, towers } = await loadModel(source.folder)
  const weights = await backend.upload(towers.vision.weights)
  const builtWith = builtTowers(description.vision, towers.vision.buildGraph)
  return async (asked: RunRequest) => {
    const { planned, graph } = planStructure(builtWith, structureOf(asked))
    const program = await backend.compile(graph)
    const { shape, data } = randomTensor([1, 3, 224, 224], { scale: 1, seed: 1 })
    const inputs = { [planned.input.name]: { dtype: 'float32', shape, data } as Tensor, ...editInputs(asked.edits, planned.tower, 1) }
    return { run: () => program.run({ inputs, weights, fetch: fetchedValues(planned) }), dispose: () => program.dispose() }
  }
}

function row(what: string, samples: readonly { beyondRun: number; beyondBare: number }[], target: number): Row {
  const beyond = summarise(samples.map(({ beyondRun }) => beyondRun))
  return {
    what,
    'beyond the run, median ms': beyond.medianMs,
    'worst ms': Math.max(...samples.map(({ beyondRun }) => beyondRun)),
    'target ms': target,
    'beyond the bare backend, median ms': summarise(samples.map(({ beyondBare }) => beyondBare)).medianMs,
    n: beyond.n,
  }
}

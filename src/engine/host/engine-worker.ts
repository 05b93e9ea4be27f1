/**
 * Runs as the thread or the process that owns the device: answers the calls of engine-worker-calls.ts with an engine on the backend it is told to start.
 */

import { isMainThread } from 'node:worker_threads'
import type { Backend } from '../backends/backend.js'
import { invariant } from '../errors.js'
import { chooseBackend } from './choose-backend.js'
import { Engine } from './engine.js'
import type { EngineWorker } from './engine-worker-calls.js'
import { processPort } from './process-channel.js'
import { answerCalls } from './remote.js'
import { threadPort } from './thread-channel.js'
import { warmUp } from './warm-up.js'

let started: Engine | undefined
let deviceMemory: Backend['memory']

function engine(): Engine {
  invariant(started !== undefined, 'the first call is start')
  return started
}

const methods: EngineWorker = {
  async start(options) {
    const backend = await chooseBackend(options)
    await warmUp(backend)
    started = new Engine(backend)
    deviceMemory = backend.memory
    return { backend: backend.name, device: backend.device }
  },
  inspect: async (source) => engine().inspect(source),
  load: async (source) => engine().load(source),
  unload: async (model) => engine().unload(model),
  inspectSae: async (source) => engine().inspectSae(source),
  loadSae: async (source) => engine().loadSae(source),
  unloadSae: async (sae) => engine().unloadSae(sae),
  plan: async (structure) => engine().plan(structure),
  compile: async (program) => engine().compile(program),
  drop: async (program) => engine().drop(program),
  run: async (batch) => engine().run(batch),
  analyse: async (call, signal?: AbortSignal) => engine().analyse(call, signal),
  exportGraph: async (call) => engine().exportGraph(call),
  readWeights: async (call) => engine().readWeights(call),
  decoderRows: async (sae, latents) => engine().decoderRows(sae, latents),
  decoderCosines: async (loaded, embeddings) => engine().decoderCosines(loaded, embeddings),
}

answerCalls(isMainThread ? processPort() : threadPort(), methods, () => deviceMemory?.())

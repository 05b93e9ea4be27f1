/** Path patching: what one component says to another directly, and what that does to a metric. */

import { modelSource } from '../catalog/catalog.js'
import { checkEnds, type Reader, type Writer } from '../engine/analyses/patching/components.js'
import { outOfRange } from '../engine/analyses/patching/grid.js'
import { EngineError } from '../engine/errors.js'
import { nPositions } from '../engine/hook-points.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { Tensor } from '../engine/tensor.js'
import { Problems, RequestError } from './errors.js'
import { findModel } from './find-model.js'
import { fixedLimits } from './limits.js'
import { type Context, defineOperation } from './operation.js'
import { drawGrid, normalizedCells } from './patching/answer.js'
import { checkPairs, resolvePairs } from './patching/resolve-pairs.js'
import {
  type PathPatchingAnswer,
  PathPatchingInputShape,
  type PathPatchingRequest,
  PathPatchingShape,
  type ReaderInput,
  type WriterInput,
} from './schemas/patching.js'

export const pathPatching = defineOperation({
  name: 'pathPatching',
  kind: 'query',
  scope: 'run',
  summary: 'Path patching: what one component says to another, everything between them as it was',
  input: PathPatchingInputShape,
  output: PathPatchingShape,
  example: {
    model: 'emoji-clip',
    clean: [`sha256:${'0'.repeat(64)}`],
    corrupted: [`sha256:${'1'.repeat(64)}`],
    senders: [{ component: 'head', layer: 1, head: 2 }],
    receivers: [{ component: 'head', layer: 3, head: 0, inputs: ['q'] }, { component: 'output' }],
    metric: { kind: 'score', target: { text: 'a red apple' } },
  },

  async run(context, input, call) {
    const { model, pairs, ends } = await checkPathPatching(context, input)
    const { metricName, ...resolved } = await resolvePairs(context, pairs, call)
    const started = performance.now()
    const found = await context.host.analyse(
      'pathPatching',
      { model: modelSource(model), input: { ...resolved, ...ends, ...(input.positions && { positions: input.positions }) } },
      call.signal,
    )
    call.timing('run', performance.now() - started)
    const { clean, corrupted, senders, receivers } = found
    const cells = normalizedCells(found.values, { clean, ...(corrupted && { corrupted }) })
    const { direction } = resolved
    const answer = {
      ...{ model: model.id, metric: metricName, direction, clean, corrupted: corrupted ?? null },
      ...{ senders: [...senders], receivers: [...receivers], ...cells, plot: null },
    }
    return { ...answer, plot: input.plot ? pathPatchingPlot(answer) : null }
  },
})

/** Everything that can be refused before any picture is decoded. @throws all problems at once */
export async function checkPathPatching(context: Context, input: PathPatchingRequest) {
  const model = await findModel(context.catalog, input.model)
  const config = model.description.vision.config as VisionConfig
  const problems = new Problems()
  const pairs = checkPairs(context, input, model, problems)
  const ends = { senders: input.senders.map(writerOf), receivers: input.receivers.map(readerOf), through: throughOf(input, problems) }
  problems.collect('senders', () => checkEnds(ends, config))
  for (const { path, message } of outOfRange(input.positions, { path: 'positions', what: 'position', length: nPositions(config) })) {
    problems.add(path, new EngineError('INPUT_INVALID', { path, problem: message }))
  }
  problems.throwIfAny()
  checkSize(input)
  return { model, pairs, ends }
}

export function pathPatchingPlot({ senders, receivers, values, mean, ...answer }: PathPatchingAnswer): string {
  const axes = [
    { name: 'sender', labels: senders },
    { name: 'receiver', labels: receivers },
  ]
  const cells = { values: values as Tensor<'float32'>, mean: mean as Tensor<'float32'> | null }
  return drawGrid({ ...answer, ...cells, axes, title: 'Path patching' })
}

/** What the binary forms hold. */
export function pathPatchingTensors({ clean, corrupted, values, normalized, mean }: PathPatchingAnswer): Record<string, Tensor> {
  return { clean, ...(corrupted && { corrupted }), values, ...(normalized && { normalized }), ...(mean && { mean }) }
}

function writerOf(writer: WriterInput): Writer {
  const { component, ...rest } = writer
  return { kind: component, ...rest } as Writer
}

function readerOf(reader: ReaderInput): Reader {
  const { component, ...rest } = reader
  const inputs = component === 'head' || component === 'attn' ? { inputs: (rest as { inputs?: unknown }).inputs ?? ['q', 'k', 'v'] } : {}
  return { kind: component, ...rest, ...inputs } as Reader
}

function throughOf({ through = [], throughAll = false }: PathPatchingRequest, problems: Problems): 'all' | readonly Writer[] {
  if (throughAll && through.length > 0) {
    const problem = 'names components, and "throughAll" is all of them; send one of the two'
    problems.add('through', new EngineError('INPUT_INVALID', { path: 'through', problem }))
  }
  return throughAll ? 'all' : through.map(writerOf)
}

/** @throws LIMIT_EXCEEDED */
function checkSize({ clean, senders, receivers, source }: PathPatchingRequest): void {
  const draws = source?.kind === 'resample' ? (source.draws ?? 1) : 1
  const given = clean.length * draws * senders.length * (1 + receivers.length)
  const maximum = fixedLimits.patchedRuns
  if (given <= maximum) return
  const instead = `That would take ${given} runs of the model. Choose fewer senders, receivers, pairs or draws.`
  throw new RequestError('LIMIT_EXCEEDED', { limit: 'patchedRuns', given, maximum, what: 'patched runs', instead })
}

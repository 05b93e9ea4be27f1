/**
 * Runs that are kept under an id: the request in full, with the hashes of the weights that it is about. The answer is not kept but computed again,
 * from the same weights, whenever it is asked for; the id is made of the content, so that the same run is always of the same id.
 */

import { type Static, type TSchema, Type } from 'typebox'
import type { RunRecord, RunWeights } from '../catalog/runs.js'
import type { Tensor } from '../engine/tensor.js'
import { version } from './capabilities.js'
import { RequestError } from './errors.js'
import { findDownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { canonical, frozen, type KeptInput, runId } from './frozen-run.js'
import { type Call, type Context, defineOperation, type Operation } from './operation.js'
import { type NamesSaes, type RunKind, runKinds, saesNamed, savables } from './runs/savable.js'
import { RunId, RunKindShape, RunResultShape, RunShape, RunSummaryShape, SaveRunShape } from './runs/shapes.js'
import { ModelId } from './schemas/model.js'
import { Cursor, DEFAULT_PAGE_SIZE, Limit, pageOf } from './schemas/page.js'
import { Encoding } from './schemas/tensor.js'

export type RunResult = Static<typeof RunResultShape>

type RequestInput = KeptInput & NamesSaes & { readonly model: string }

/** One that takes what it takes by its kind. */
const savableOf = (kind: string) =>
  savables[kind as RunKind] as unknown as {
    readonly operation: Operation<TSchema, TSchema>
    check(context: Context, input: unknown, call: Call): Promise<unknown>
    tensors(output: unknown): Readonly<Record<string, Tensor>>
  }

export const createRun = defineOperation({
  name: 'createRun',
  kind: 'mutation',
  scope: 'write',
  summary: 'Keep a request under an id, so that its answer can be computed again by anyone who has the link',
  input: SaveRunShape,
  output: RunShape,
  example: {
    kind: 'forward',
    input: { model: 'emoji-clip', inputs: [{ image: `sha256:${'0'.repeat(64)}` }], classify: { labels: ['cat', 'dog'] } },
  },

  async run(context, { kind, input: asked }, call) {
    await savableOf(kind).check(context, asked, call)
    const input = await frozen(context, asked as RequestInput, call)
    const weights = await weightsOf(context, input)
    const content = { kind, input, weights, codeVersion: version }
    const run = await context.catalog.runs.create({ id: runId(content), modelId: input.model, ...content })
    return describe(run, true)
  },
})

export const runs = defineOperation({
  name: 'runs',
  kind: 'query',
  scope: 'read',
  summary: 'The saved runs, newest first',
  input: Type.Object(
    {
      kind: Type.Optional(RunKindShape),
      model: Type.Optional(ModelId),
      limit: Type.Optional(Limit),
      cursor: Type.Optional(Cursor),
    },
    { title: 'RunsInput', additionalProperties: false },
  ),
  output: pageOf('RunPage', RunSummaryShape),
  example: { model: 'emoji-clip', limit: 10 },

  async run(context, { limit = DEFAULT_PAGE_SIZE, ...request }) {
    const { items: found, nextCursor, cursors, totalCount } = await context.catalog.runs.list({ limit, ...request })
    const current = await context.catalog.runs.current(found.map(({ id }) => id))
    const items = found.map((each) => summarize(each, current.has(each.id)))
    return { items, nextCursor, cursors: [...cursors], totalCount }
  },
})

const ById = (title: string) => Type.Object({ id: RunId }, { title, additionalProperties: false })

export const run = defineOperation({
  name: 'run',
  kind: 'query',
  scope: 'read',
  summary: 'A saved run: the request, and the weights that it is about',
  input: ById('RunByIdInput'),
  output: RunShape,

  async run(context, { id }) {
    return describe(await findRun(context, id), await isCurrent(context, id))
  },
})

export const deleteRun = defineOperation({
  name: 'deleteRun',
  kind: 'mutation',
  scope: 'write',
  summary: 'Forget a saved run; the answer is what it was',
  input: ById('DeleteRunInput'),
  output: RunShape,

  async run(context, { id }) {
    const answer = describe(await findRun(context, id), await isCurrent(context, id))
    await context.catalog.runs.remove(id)
    return answer
  },
})

export const runResult = defineOperation({
  name: 'runResult',
  kind: 'query',
  scope: 'run',
  summary: 'What a saved run answers, computed again from the same weights',
  input: Type.Object({ id: RunId, encoding: Type.Optional(Encoding) }, { title: 'RunResultInput', additionalProperties: false }),
  output: RunResultShape,

  async run(context, { id }, call) {
    const found = await findRun(context, id)
    const problem = await whatChanged(context, found)
    if (problem !== undefined) throw new RequestError('RUN_OUTDATED', { run: id, problem })
    const { kind, input } = found
    const none = Object.fromEntries(runKinds.map((each) => [each, null]))
    return { id, kind, ...none, [kind]: await savableOf(kind).operation.run(context, input, call) } as RunResult
  },
})

/** @throws RUN_UNKNOWN */
async function findRun({ catalog }: Context, id: string): Promise<RunRecord> {
  const found = await catalog.runs.get(id)
  if (!found) throw new RequestError('RUN_UNKNOWN', { run: id })
  return found
}

/** @throws MODEL_UNKNOWN, SAE_UNKNOWN, SAE_NOT_DOWNLOADED */
async function weightsOf({ catalog }: Context, input: NamesSaes & { readonly model: string }): Promise<RunWeights> {
  const model = await findModel(catalog, input.model)
  const saes: [string, string][] = []
  for (const each of saesNamed(input)) saes.push([each, (await findDownloadedSae(catalog, each)).download.weightsSha256])
  return { model: model.weightsSha256, processing: [...model.processing], saes: Object.fromEntries(saes) }
}

/** Why a run cannot be computed again; undefined where it can. */
async function whatChanged(context: Context, { input, weights }: RunRecord): Promise<string | undefined> {
  const asked = input as RequestInput
  try {
    const now = await weightsOf(context, asked)
    if (canonical(now) === canonical(weights)) return undefined
    const sae = Object.keys(weights.saes).find((each) => now.saes[each] !== weights.saes[each])
    return `"${sae ?? asked.model}" has other weights now`
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    return error.message.replace(/\.$/, '')
  }
}

const isCurrent = async ({ catalog }: Context, id: string) => (await catalog.runs.current([id])).has(id)

function summarize({ id, kind, modelId: model, codeVersion, createdAt }: RunRecord, current: boolean): Static<typeof RunSummaryShape> {
  return { id, kind: kind as RunKind, model, codeVersion, isCurrent: current, createdAt: createdAt.toISOString() }
}

function describe(record: RunRecord, current: boolean): Static<typeof RunShape> {
  const { model, processing, saes } = record.weights
  return {
    ...summarize(record, current),
    input: record.input,
    weights: { model, processing: [...processing], saes: Object.entries(saes).map(([sae, sha256]) => ({ sae, sha256 })) },
  }
}

/** What the binary forms of a result hold: those of the request that was saved. */
export const runTensors = (result: RunResult) => savableOf(result.kind).tensors(result[result.kind])

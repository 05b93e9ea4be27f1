/**
 * Runs that are kept under an id: the request in full, with the hashes of the weights that it is about. The answer is not kept but computed again,
 * from the same weights, whenever it is asked for; the id is made of the content, so that the same run is always of the same id.
 */

import { type Static, Type } from 'typebox'
import type { RunRecord, RunWeights } from '../catalog/runs.js'
import type { Tensor } from '../engine/tensor.js'
import { version } from './capabilities.js'
import { RequestError } from './errors.js'
import { findDownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { checkForward, type ForwardInput, ForwardInputShape, ForwardShape, forward, forwardTensors } from './forward.js'
import { canonical, frozen, runId } from './frozen-run.js'
import { type Call, type Context, defineOperation } from './operation.js'
import type { EditInput } from './schemas/edit.js'
import { ModelId } from './schemas/model.js'
import { SteerInputShape, SteerShape } from './schemas/steer.js'
import { Encoding } from './schemas/tensor.js'
import { checkSteer, type SteerInput, steer, steerTensors } from './steer.js'

const RunId = Type.String({
  'x-scalar': 'ID',
  minLength: 1,
  maxLength: 100,
  description: '`run-` and 32 hex digits, made of what is saved.',
  examples: [`run-${'0'.repeat(32)}`],
})

/** GraphQL has no alternatives among inputs. */
const anyJson = { 'x-scalar': 'Json' }

const SaveRunShape = Type.Union(
  [
    Type.Object(
      { kind: Type.Literal('forward'), input: Type.Unsafe<ForwardInput>({ ...ForwardInputShape, ...anyJson }) },
      { additionalProperties: false },
    ),
    Type.Object(
      { kind: Type.Literal('steer'), input: Type.Unsafe<SteerInput>({ ...SteerInputShape, ...anyJson }) },
      { additionalProperties: false },
    ),
  ],
  { title: 'SaveRunInput', description: 'A request to `/v1/forward` or `/v1/steer`.' },
)

const RunShape = Type.Object(
  {
    id: RunId,
    kind: Type.Enum(['forward', 'steer'], { title: 'RunKind' }),
    model: ModelId,
    input: Type.Unsafe<unknown>({
      ...anyJson,
      description: 'The request, complete: pictures by their hashes, stored vectors as numbers, strengths in activations.',
    }),
    weights: Type.Object(
      {
        model: Type.String({ description: 'sha256 of the weights.' }),
        processing: Type.Array(Type.String(), { description: 'What was done to them when they were loaded.' }),
        saes: Type.Array(Type.Object({ sae: Type.String(), sha256: Type.String() }, { title: 'SaeWeights', additionalProperties: false })),
      },
      { title: 'RunWeights', additionalProperties: false },
    ),
    codeVersion: Type.String({ description: 'What saved it.' }),
    isCurrent: Type.Boolean({ description: 'Whether these weights are here, so that the answer can be computed again.' }),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Run', additionalProperties: false },
)

const RunResultShape = Type.Object(
  {
    id: RunId,
    kind: Type.Enum(['forward', 'steer'], { title: 'RunKind' }),
    forward: Type.Union([ForwardShape, Type.Null()], { description: 'Of this kind.' }),
    steer: Type.Union([SteerShape, Type.Null()], { description: 'Of this kind.' }),
  },
  { title: 'RunResult', additionalProperties: false },
)

export type RunResult = Static<typeof RunResultShape>

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
    if (kind === 'forward') await checkForward(context, asked as ForwardInput, call)
    else await checkSteer(context, asked as SteerInput, call)
    const input = await frozen(context, asked, call)
    const weights = await weightsOf(context, input)
    const content = { kind, input, weights, codeVersion: version }
    const run = await context.catalog.runs.create({ id: runId(content), modelId: input.model, ...content })
    return describe(run, true)
  },
})

export const run = defineOperation({
  name: 'run',
  kind: 'query',
  scope: 'read',
  summary: 'A saved run: the request, and the weights that it is about',
  input: Type.Object({ id: RunId }, { title: 'RunByIdInput', additionalProperties: false }),
  output: RunShape,

  async run(context, { id }) {
    const found = await findRun(context, id)
    return describe(found, (await whatChanged(context, found)) === undefined)
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
    return resultOf(context, found, call)
  },
})

async function resultOf(context: Context, { id, kind, input }: RunRecord, call: Call): Promise<RunResult> {
  return kind === 'steer'
    ? { id, kind: 'steer', forward: null, steer: await steer.run(context, input as SteerInput, call) }
    : { id, kind: 'forward', forward: await forward.run(context, input as ForwardInput, call), steer: null }
}

/** @throws RUN_UNKNOWN */
async function findRun({ catalog }: Context, id: string): Promise<RunRecord> {
  const found = await catalog.runs.get(id)
  if (!found) throw new RequestError('RUN_UNKNOWN', { run: id })
  return found
}

interface AboutWeights {
  readonly model: string
  readonly edits?: readonly EditInput[]
}

/** @throws MODEL_UNKNOWN, SAE_UNKNOWN, SAE_NOT_DOWNLOADED */
async function weightsOf({ catalog }: Context, { model: id, edits = [] }: AboutWeights): Promise<RunWeights> {
  const model = await findModel(catalog, id)
  const ids = new Set(edits.flatMap(saesNamed))
  const saes: [string, string][] = []
  for (const each of [...ids].sort()) saes.push([each, (await findDownloadedSae(catalog, each)).download.weightsSha256])
  return { model: model.weightsSha256, processing: [...model.processing], saes: Object.fromEntries(saes) }
}

function saesNamed(edit: EditInput): string[] {
  if ('sae' in edit) return [edit.sae]
  return 'vector' in edit && edit.vector && 'sae' in edit.vector ? [edit.vector.sae] : []
}

/** Why a run cannot be computed again; undefined where it can. */
async function whatChanged(context: Context, { input, weights }: RunRecord): Promise<string | undefined> {
  try {
    const now = await weightsOf(context, input as AboutWeights)
    if (canonical(now) === canonical(weights)) return undefined
    const sae = Object.keys(weights.saes).find((each) => now.saes[each] !== weights.saes[each])
    const changed = sae === undefined ? (input as AboutWeights).model : sae
    return `"${changed}" has other weights now`
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    return error.message.replace(/\.$/, '')
  }
}

function describe({ id, kind, modelId, input, weights, codeVersion, createdAt }: RunRecord, isCurrent: boolean): Static<typeof RunShape> {
  const { model, processing, saes } = weights
  return {
    id,
    kind: kind as 'forward' | 'steer',
    model: modelId,
    input,
    weights: { model, processing: [...processing], saes: Object.entries(saes).map(([sae, sha256]) => ({ sae, sha256 })) },
    codeVersion,
    isCurrent,
    createdAt: createdAt.toISOString(),
  }
}

/** What the binary forms of a result hold: those of the request that was saved. */
export function runTensors({ forward: ofForward, steer: ofSteer }: RunResult): Record<string, Tensor> {
  return { ...(ofForward && forwardTensors(ofForward)), ...(ofSteer && steerTensors(ofSteer)) }
}

/**
 * One image against another: how alike the model finds them, layer by layer, and which features differ.
 */

import type { Static } from 'typebox'
import { type ModelRecord, modelSource } from '../catalog/catalog.js'
import { type Pooling, type SparseRows, takeSparseRows } from '../engine/analyses/compare/sparse-rows.js'
import { EngineError } from '../engine/errors.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import type { VisionConfig } from '../engine/models/model.js'
import type { Tensor } from '../engine/tensor.js'
import { describeCompared } from './compare/describe-compared.js'
import { planReads } from './compare/find-compared.js'
import { inRuns, type PlacedImage, pooledRows } from './compare/pooled-rows.js'
import { Problems } from './errors.js'
import type { DownloadedSae } from './feature-facts/find-feature.js'
import { findModel } from './find-model.js'
import { findDownloadedSaes } from './find-saes.js'
import { type Call, type Context, defineOperation } from './operation.js'
import type { PlannedSaeRead } from './plan-sae-read.js'
import { CompareImagePairInputShape, CompareImagePairShape, type PairSae } from './schemas/compare.js'
import { DEFAULT_EXAMPLES } from './schemas/feature.js'

type Input = Static<typeof CompareImagePairInputShape>

const DEFAULT_TOP_K = 20

export const compareImagePair = defineOperation({
  name: 'compareImagePair',
  kind: 'query',
  scope: 'run',
  summary: 'One image against another: cosines layer by layer, and the features that differ',
  input: CompareImagePairInputShape,
  output: CompareImagePairShape,
  example: {
    model: 'emoji-clip',
    a: `sha256:${'0'.repeat(64)}`,
    b: `sha256:${'1'.repeat(64)}`,
    saes: ['emoji-clip.4-resid-post.topk-16-x8-all'],
  },

  async run(context, input, call) {
    const model = await findModel(context.catalog, input.model)
    const saes = await findDownloadedSaes(context, input.saes ?? [])
    checkModel(saes, model)
    const reads = planReads({ model, saes }, input.positions as PositionSelector | undefined)
    const images: PlacedImage[] = [
      { image: input.a, path: 'a' },
      { image: input.b, path: 'b' },
    ]
    const started = performance.now()
    const alike = await likeness(context, { model, images }, call)
    const rows = reads.length === 0 ? [] : await pooledRows(context, { model, images, reads }, call)
    call.timing('run', performance.now() - started)
    const found = reads.map((read, index) => differences(context, { read, rows: rows[index]!, input }))
    return { model: model.id, ...alike, saes: await Promise.all(found) }
  },
})

/** @throws INPUT_INVALID, all at once */
function checkModel(saes: readonly DownloadedSae[], model: ModelRecord): void {
  const problems = new Problems()
  for (const [index, { id, modelId }] of saes.entries()) {
    if (modelId === model.id) continue
    const path = `saes[${index}]`
    problems.add(path, new EngineError('INPUT_INVALID', { path, problem: `${id} is an SAE of ${modelId}, and this runs ${model.id}` }))
  }
  problems.throwIfAny()
}

async function likeness(
  context: Context,
  { model, images }: { readonly model: ModelRecord; readonly images: readonly PlacedImage[] },
  call: Call,
) {
  const config = model.description.vision.config as VisionConfig
  const read = ['blocks.0.hook_resid_pre', ...Array.from({ length: config.nLayers }, (_, layer) => `blocks.${layer}.hook_resid_post`)]
  for await (const pictures of inRuns(context, { model, images }, call)) {
    const { output, activations } = await context.host.run(
      { model: modelSource(model), inputs: { kind: 'pictures', pictures }, read, edits: [] },
      call.signal,
    )
    const [a, b] = halves(output)
    return { output: cosine(a, b), layers: read.map((hookPoint) => ({ hookPoint, ...layerLikeness(activations[hookPoint]!, config) })) }
  }
  throw new Error('Invariant violated: two images make a run')
}

const halves = ({ data }: Tensor<'float32'>) => [data.subarray(0, data.length / 2), data.subarray(data.length / 2)] as const

/** @param stream  `[2, pos, dModel]` */
function layerLikeness(stream: Tensor<'float32'>, { hasCls }: VisionConfig) {
  const [, nPositions, width] = stream.shape as [number, number, number]
  const [a, b] = halves(stream)
  const at = (half: Float32Array, position: number) => half.subarray(position * width, (position + 1) * width)
  const byPosition = Array.from({ length: nPositions }, (_, position) => cosine(at(a, position), at(b, position)))
  return { mean: cosine(meanOf(a, width), meanOf(b, width)), cls: hasCls ? byPosition[0]! : null, byPosition }
}

function meanOf(rows: Float32Array, width: number): Float64Array {
  const mean = new Float64Array(width)
  for (let at = 0; at < rows.length; at++) mean[at % width]! += (rows[at]! * width) / rows.length
  return mean
}

/** 0 where one of them has no length. */
function cosine(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  let [product, ofA, ofB] = [0, 0, 0]
  for (let at = 0; at < a.length; at++) {
    product += a[at]! * b[at]!
    ofA += a[at]! ** 2
    ofB += b[at]! ** 2
  }
  return product === 0 ? 0 : product / Math.sqrt(ofA * ofB)
}

async function differences(
  context: Context,
  { read, rows, input }: { readonly read: PlannedSaeRead; readonly rows: SparseRows; readonly input: Input },
): Promise<PairSae> {
  const { sae, hookPoint } = read
  const pooling = input.pooling ?? 'max'
  const [a, b] = [0, 1].map((row) => byLatent(takeSparseRows(rows, [row]), pooling)) as [Map<number, number>, Map<number, number>]
  const latents = [...new Set([...a.keys(), ...b.keys()])]
  const inBoth = latents.filter((latent) => a.has(latent) && b.has(latent)).length
  const values = latents.map((index) => ({ index, a: a.get(index) ?? 0, b: b.get(index) ?? 0 }))
  const largest = values
    .map((each) => ({ ...each, difference: each.a - each.b }))
    .sort((x, y) => Math.abs(y.difference) - Math.abs(x.difference) || x.index - y.index)
    .slice(0, input.topK ?? DEFAULT_TOP_K)
  const shown = await describeCompared(context, {
    sae: sae.id,
    indices: largest.map(({ index }) => index),
    nExamples: input.examples ?? DEFAULT_EXAMPLES,
  })
  return {
    sae: sae.id,
    hookPoint: hookPoint.name,
    cosine:
      a.size === 0 || b.size === 0
        ? null
        : cosine(
            Float64Array.from(values, (each) => each.a),
            Float64Array.from(values, (each) => each.b),
          ),
    ...{ onlyInA: a.size - inBoth, onlyInB: b.size - inBoth, inBoth },
    features: largest.map((each, at) => ({ ...shown[at]!, ...each })),
  }
}

const byLatent = (row: SparseRows, pooling: Pooling) => new Map(Array.from(row.latents, (latent, entry) => [latent, row[pooling][entry]!]))

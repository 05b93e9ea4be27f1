/**
 * From features that tell two sets of images apart to edits that make the one like the other: along each feature's decoder row, by the difference of
 * its mean activation. And whether that does what it says, on images that it was not made from.
 */

import type { ModelRecord } from '../../catalog/catalog.js'
import { saeSource } from '../../catalog/sae-source.js'
import type { SeparatingFeature } from '../../engine/analyses/compare/separate-features.js'
import { type Pooling, type SparseRows, takeSparseRows, valuesOf } from '../../engine/analyses/compare/sparse-rows.js'
import { rankTests } from '../../engine/analyses/compare/statistics/rank-test.js'
import { scoringOf } from '../../engine/analyses/targets.js'
import type { Edit, PositionSelector } from '../../engine/interventions/edit.js'
import { createRandom } from '../../engine/random.js'
import { lengthOf } from '../../engine/vectors.js'
import type { Call, Context } from '../operation.js'
import type { PlannedSaeRead } from '../plan-sae-read.js'
import type { ImagesOfSae, RecipeEdit } from '../schemas/compare.js'
import { outputsOf, type PlacedImage } from './pooled-rows.js'

interface Recipe {
  /** As a user gives them. */
  readonly edits: readonly RecipeEdit[]
  /** The same as the engine takes them. */
  readonly engineEdits: readonly Edit[]
}

/** None of an SAE whose rows are of all heads at once. */
export async function recipeOf(
  context: Context,
  {
    sae,
    positions,
    features,
  }: { readonly sae: PlannedSaeRead; readonly positions: PositionSelector; readonly features: readonly SeparatingFeature[] },
  call: Call,
): Promise<Recipe> {
  const { config } = sae.sae.download.description
  const moving = features.filter(({ decoded }) => decoded.a !== decoded.b)
  if (config.flattensHeads || moving.length === 0) return { edits: [], engineEdits: [] }
  const latents = moving.map(({ latent }) => latent)
  const { shape, data } = await context.host.decoderRows({ sae: saeSource(sae.sae), latents }, call.signal)
  const width = shape[1]!
  const place = {
    hookPoint: config.transcoder?.hookPointOut ?? config.hookPoint,
    ...(sae.selected && { positions }),
    ...(config.headIndex !== undefined && { heads: [config.headIndex] }),
  }
  const made = moving.flatMap(({ latent, decoded }, index) => {
    const vector = data.slice(index * width, (index + 1) * width)
    const strength = (decoded.a - decoded.b) * lengthOf(vector)
    return strength === 0 ? [] : [{ latent, vector, strength }]
  })
  return {
    edits: made.map(({ latent, strength }) => ({
      ...place,
      ...({ op: 'add', unit: 'norm' } as const),
      vector: { sae: sae.sae.id, feature: latent },
      strength,
    })) as RecipeEdit[],
    engineEdits: made.map(({ vector, strength }) => ({ ...place, op: 'add', vector, strength, unit: 'norm' })),
  }
}

interface Halves<T> {
  readonly made: T
  readonly heldOut: T
}

export interface ToCheck {
  readonly model: ModelRecord
  readonly sae: PlannedSaeRead
  readonly positions: PositionSelector
  readonly pooling: Pooling
  readonly images: { readonly a: readonly PlacedImage[]; readonly b: readonly PlacedImage[] }
  /** Of this SAE. */
  readonly rows: { readonly a: SparseRows; readonly b: SparseRows }
  /** The model's answers without edits. */
  readonly outputs: { readonly a: readonly Float64Array[]; readonly b: readonly Float64Array[] }
  /** What separates some of the images. */
  separate(rows: { readonly a: SparseRows; readonly b: SparseRows }): Promise<readonly SeparatingFeature[]>
}

/** Draws of random directions. */
const DRAWS = 2
/** What strengths are multiplied by: features share what they write with others that the recipe leaves out. */
const SCALES = [1, 4, 16]

/** At least four images in each set. */
export async function checkRecipe(context: Context, asked: ToCheck, call: Call): Promise<NonNullable<ImagesOfSae['check']>> {
  const { model, sae, positions, pooling, images, rows, outputs } = asked
  const [a, b] = [halvesOf(images.a.length, 'a'), halvesOf(images.b.length, 'b')]
  const features = await asked.separate({ a: takeSparseRows(rows.a, a.made), b: takeSparseRows(rows.b, b.made) })
  const { engineEdits } = await recipeOf(context, { sae, positions, features }, call)
  const direction = towards(outputs, { a: a.made, b: b.made }, model)
  const score = (all: readonly Float64Array[]) => mean(all.map((output) => direction(output)))
  const heldOutB = b.heldOut.map((index) => images.b[index]!)
  const edited = async (edits: readonly Edit[]) =>
    score(edits.length === 0 ? b.heldOut.map((at) => outputs.b[at]!) : await outputsOf(context, { model, images: heldOutB, edits }, call))
  const scores = { a: score(a.heldOut.map((at) => outputs.a[at]!)), b: score(b.heldOut.map((at) => outputs.b[at]!)) }
  const share = (steered: number) => (scores.a === scores.b ? null : (steered - scores.b) / (scores.a - scores.b))
  const doses: NonNullable<ImagesOfSae['check']>['doses'] = []
  for (const scale of SCALES) {
    const edits = engineEdits.map((edit) => scaled(edit, scale))
    const steered = await edited(edits)
    const draws: number[] = []
    for (let draw = 0; draw < DRAWS; draw++) draws.push(await edited(edits.map((edit, index) => turned(edit, `${draw} ${index}`))))
    const random = mean(draws)
    doses.push({ scale, score: steered, random, moved: share(steered), movedAtRandom: share(random) })
  }
  return {
    heldOut: { a: a.heldOut.length, b: b.heldOut.length },
    features: features.map(({ latent }) => latent),
    auroc: heldOutArea(features, { a: takeSparseRows(rows.a, a.heldOut), b: takeSparseRows(rows.b, b.heldOut), pooling }),
    ...scores,
    doses,
  }
}

/** Drawn at random, always the same: the order of a data set may mean something. */
function halvesOf(n: number, label: string): Halves<readonly number[]> {
  const order = [...createRandom(0).fork(label).permutation(n)]
  const half = Math.ceil(n / 2)
  return { made: order.slice(0, half).sort((x, y) => x - y), heldOut: order.slice(half).sort((x, y) => x - y) }
}

/** The product with the unit vector from the mean of some of B to the mean of some of A; of cosine models, of outputs of length 1. */
function towards(
  outputs: ToCheck['outputs'],
  chosen: { readonly a: readonly number[]; readonly b: readonly number[] },
  model: ModelRecord,
) {
  const { normalized } = scoringOf(model.description)
  const unit = (vector: Float64Array) => {
    const length = lengthOf(vector)
    return length > 0 ? vector.map((value) => value / length) : vector
  }
  const read = (output: Float64Array) => (normalized ? unit(output) : output)
  const centre = (all: readonly Float64Array[], indices: readonly number[]) => {
    const sum = new Float64Array(all[0]!.length)
    for (const index of indices) for (const [at, value] of read(all[index]!).entries()) sum[at]! += value / indices.length
    return sum
  }
  const [ofA, ofB] = [centre(outputs.a, chosen.a), centre(outputs.b, chosen.b)]
  const direction = unit(ofA.map((value, at) => value - ofB[at]!))
  return (output: Float64Array) => read(output).reduce((sum, value, at) => sum + value * direction[at]!, 0)
}

const scaled = (edit: Edit, scale: number): Edit => (edit.op === 'add' ? { ...edit, strength: scale * edit.strength } : edit)

/** The same edit along a direction drawn at random. */
function turned(edit: Edit, label: string): Edit {
  if (edit.op !== 'add') return edit
  const random = createRandom(1).fork(label)
  return { ...edit, vector: edit.vector.map(() => random.normal()) }
}

function heldOutArea(
  features: readonly SeparatingFeature[],
  { a, b, pooling }: { readonly a: SparseRows; readonly b: SparseRows; readonly pooling: Pooling },
): number {
  const rankTest = rankTests()
  const areas = features.map(({ latent, auroc }) => {
    const held = rankTest({
      nA: a.scale.length,
      nB: b.scale.length,
      a: valuesOf(a, latent, pooling).sort(),
      b: valuesOf(b, latent, pooling).sort(),
    }).auroc
    return auroc >= 0.5 ? held : 1 - held
  })
  return areas.length === 0 ? 0.5 : mean(areas)
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

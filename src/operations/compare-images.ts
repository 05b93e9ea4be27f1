/**
 * Two sets of images: which features tell them apart, and how to make the one like the other.
 */

import type { Static } from 'typebox'
import { modelSource } from '../catalog/catalog.js'
import { saeSource } from '../catalog/sae-source.js'
import type { SeparateFeaturesOutput, SeparatingFeature } from '../engine/analyses/compare/separate-features.js'
import type { SparseRows } from '../engine/analyses/compare/sparse-rows.js'
import { EngineError } from '../engine/errors.js'
import type { PositionSelector } from '../engine/interventions/edit.js'
import { describeCompared } from './compare/describe-compared.js'
import { type Compared, findCompared, planReads, selectorOf } from './compare/find-compared.js'
import { imagesOfSet, requireApart } from './compare/image-sets.js'
import { outputsOf, type PlacedImage, placed, pooledRows } from './compare/pooled-rows.js'
import { checkRecipe, recipeOf } from './compare/steering-recipe.js'
import { Problems } from './errors.js'
import { type Call, type Context, defineOperation } from './operation.js'
import type { PlannedSaeRead } from './plan-sae-read.js'
import {
  type ComparedFeature,
  CompareImagesInputShape,
  CompareImagesShape,
  type ImageSetInput,
  type ImagesOfSae,
} from './schemas/compare.js'
import { DEFAULT_EXAMPLES } from './schemas/feature.js'
import type { ImageInputValue } from './schemas/image.js'

type Input = Static<typeof CompareImagesInputShape>

const DEFAULTS = { topK: 20, recipe: 5, minFrequency: 0.05, pooling: 'max' } as const
/** Of each set: two to make the recipe of, and two to judge it on. */
const LEAST_TO_CHECK = 4

export const compareImages = defineOperation({
  name: 'compareImages',
  kind: 'query',
  scope: 'run',
  summary: 'Two sets of images: the features that tell them apart, and edits that make the one like the other',
  input: CompareImagesInputShape,
  output: CompareImagesShape,
  example: {
    saes: ['emoji-clip.5-resid-post.topk-16-x8-all'],
    a: { dataset: 'emoji-twemoji', class: 'animal-mammal' },
    b: { dataset: 'emoji-twemoji', facets: { category: 'Flags' }, sample: 66 },
    check: true,
  },

  async run(context, input, call) {
    const compared = await findCompared(context, input.saes)
    const reads = planReads(compared, input.positions as PositionSelector | undefined)
    const images = await setsOf(context, input)
    const { model } = compared
    const nA = images.a.length
    const started = performance.now()
    const rows = await pooledRows(context, { model, images: [...images.a, ...images.b], reads }, call)
    const outputs = input.check ? await outputsOf(context, { model, images: [...images.a, ...images.b] }, call) : []
    const saes: ImagesOfSae[] = []
    for (const [index, read] of reads.entries()) {
      const ofSae = { a: rowsBetween(rows[index]!, 0, nA), b: rowsBetween(rows[index]!, nA, nA + images.b.length) }
      const answers = { a: outputs.slice(0, nA), b: outputs.slice(nA) }
      saes.push(await compareWith(context, { ...compared, input, read, images, rows: ofSae, outputs: answers }, call))
    }
    call.timing('run', performance.now() - started)
    return { model: model.id, images: { a: nA, b: images.b.length }, saes }
  },
})

interface ImageSets {
  readonly a: readonly PlacedImage[]
  readonly b: readonly PlacedImage[]
}

/** @throws all problems of both at once */
async function setsOf(context: Context, { a, b, check }: Input): Promise<ImageSets> {
  const problems = new Problems()
  const settled = await Promise.allSettled([imagesOfSet(context, a, 'a'), imagesOfSet(context, b, 'b')])
  const [ofA, ofB] = settled.map((outcome, index) => {
    if (outcome.status === 'fulfilled') return outcome.value
    return problems.collect<ImageInputValue[]>('ab'[index]!, () => {
      throw outcome.reason
    })
  })
  problems.throwIfAny()
  requireApart(ofA!, ofB!)
  for (const [name, images] of Object.entries({ a: ofA!, b: ofB! })) {
    if (!check || images.length >= LEAST_TO_CHECK) continue
    const problem = `needs at least ${LEAST_TO_CHECK} images in each set, and "${name}" has ${images.length}`
    problems.add('check', new EngineError('INPUT_INVALID', { path: 'check', problem }))
  }
  problems.throwIfAny()
  return { a: placedIn(a, ofA!, 'a'), b: placedIn(b, ofB!, 'b') }
}

const placedIn = (set: ImageSetInput, images: readonly ImageInputValue[], name: string) =>
  placed(images, (index) => ('images' in set ? `${name}.images[${index}]` : name))

interface ToCompare extends Compared {
  readonly input: Input
  readonly read: PlannedSaeRead
  readonly images: ImageSets
  readonly rows: { readonly a: SparseRows; readonly b: SparseRows }
  readonly outputs: { readonly a: readonly Float64Array[]; readonly b: readonly Float64Array[] }
}

async function compareWith(context: Context, { model, input, read, images, rows, outputs }: ToCompare, call: Call): Promise<ImagesOfSae> {
  const { sae, hookPoint } = read
  const { pooling, minFrequency, topK, recipe: nRecipe } = { ...DEFAULTS, ...input }
  const positions = selectorOf(read, input.positions as PositionSelector | undefined)
  const separate = (of: ToCompare['rows'], most: number): Promise<SeparateFeaturesOutput> =>
    context.host.analyse(
      'separateFeatures',
      {
        model: modelSource(model),
        saes: [saeSource(sae)],
        input: { ...of, nLatents: sae.download.description.config.dSae, pooling, minFrequency, limit: most },
      },
      call.signal,
    )
  const found = await separate(rows, Math.max(topK, nRecipe))
  const { edits } = await recipeOf(context, { sae: read, positions, features: found.features.slice(0, nRecipe) }, call)
  const best = async (of: ToCompare['rows']) => (await separate(of, Math.max(1, nRecipe))).features
  const check = input.check
    ? await checkRecipe(context, { model, sae: read, positions, pooling, images, rows, outputs, separate: best }, call)
    : null
  const { nActive, nTested, nDiscoveries } = found
  const features = await describe(context, {
    sae: sae.id,
    features: found.features.slice(0, topK),
    nExamples: input.examples ?? DEFAULT_EXAMPLES,
  })
  return {
    sae: sae.id,
    hookPoint: hookPoint.name,
    positions: [...read.positions],
    nActive,
    nTested,
    nDiscoveries,
    features,
    recipe: [...edits],
    check,
  }
}

async function describe(
  context: Context,
  { sae, features, nExamples }: { readonly sae: string; readonly features: readonly SeparatingFeature[]; readonly nExamples: number },
): Promise<ComparedFeature[]> {
  const shown = await describeCompared(context, { sae, indices: features.map(({ latent }) => latent), nExamples })
  return features.map(({ latent: _, decoded: __, cohensD = null, ...numbers }, at) => ({ ...shown[at]!, ...numbers, cohensD }))
}

function rowsBetween(rows: SparseRows, from: number, to: number): SparseRows {
  const [first, last] = [rows.starts[from]!, rows.starts[to]!]
  return {
    starts: rows.starts.slice(from, to + 1).map((start) => start - first),
    latents: rows.latents.slice(first, last),
    max: rows.max.slice(first, last),
    mean: rows.mean.slice(first, last),
    scale: rows.scale.slice(from, to),
  }
}

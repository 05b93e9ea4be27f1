/**
 * How good a model in training is, on pictures it is not trained on: accuracy of a classifier; zero-shot accuracy and retrieval of a CLIP.
 * The towers run on the weights of the training step, where they are.
 */

import type { Backend, Program, ResidentWeights } from '../../backends/backend.js'
import type { Batches } from '../../datasets/batches.js'
import type { Dataset } from '../../datasets/dataset.js'
import { facetClasses, inWords } from '../../datasets/facets.js'
import type { Graph } from '../../graph/graph.js'
import { embedTexts } from '../../models/embed-texts.js'
import type { TextConfig, TowerName, VisionConfig } from '../../models/model.js'
import { textGraph } from '../../models/text-tower.js'
import type { ClipTokenizer } from '../../models/tokenizer.js'
import { visionGraph } from '../../models/vit.js'
import { labelEmbeddings, promptsOf } from '../../models/zero-shot.js'
import { joinRows } from '../../rows.js'
import type { Tensor } from '../../tensor.js'
import { prefixed } from '../extend-graph.js'
import type { ModelInTraining } from '../train-model.js'

export type Evaluate = (model: ModelInTraining) => Promise<Readonly<Record<string, number>>>

/** `top1` and, with more than five classes, `top5`: shares of the pictures. */
export function classificationAccuracy(vision: VisionConfig, batches: Batches): Evaluate {
  const tower = towerOf('vision', visionGraph(vision))
  return async (model) => {
    const hits = { n: 0, top1: 0, top5: 0 }
    await forEachBatch(batches, async ({ pixels, labels }) => {
      const logits = await tower(model, { pixels })
      const [nRows, nClasses] = logits.shape as [number, number]
      for (let row = 0; row < nRows; row++) {
        const place = rank(logits.data.subarray(row * nClasses, (row + 1) * nClasses), Number(labels!.data[row]))
        hits.n++
        if (place < 1) hits.top1++
        if (place < 5) hits.top5++
      }
    })
    return { top1: hits.top1 / hits.n, ...(vision.head.dOut > 5 && { top5: hits.top5 / hits.n }) }
  }
}

/** A question to a CLIP: of all values of a facet (`category`), which is this picture's? */
export interface ZeroShotQuestion {
  readonly facet: string
  /** With `{}` where the value goes, in words. */
  readonly templates: readonly string[]
}

export interface ClipEvaluation {
  readonly vision: VisionConfig
  readonly text: TextConfig
  readonly tokenizer: ClipTokenizer
  readonly dataset: Dataset
  readonly batches: Batches
  readonly zeroShot: readonly ZeroShotQuestion[]
  /** Recall of a picture's first caption among those of all pictures, and of the picture among all: at 1 and at 10. */
  readonly retrieval: boolean
}

/** `<facet>/top1`, `<facet>/top5` for each question; `imageToText@1`, `textToImage@10` and so on for retrieval. */
export function clipAccuracy({ vision, text, tokenizer, dataset, batches, zeroShot, retrieval }: ClipEvaluation): Evaluate {
  const visionTower = towerOf('vision', visionGraph(vision))
  const textTower = towerOf('text', textGraph(text))
  const questions = zeroShot.map(({ facet, templates }) => ({
    facet,
    templates,
    ...facetClasses(dataset, facet, 'evaluate.zeroShot.facet'),
  }))
  return async (model) => {
    const images = await rowsOf(batches, async ({ pixels }) => visionTower(model, { pixels }))
    const embed = (texts: readonly string[]) => embedTexts(texts, tokenizer, (tokens) => textTower(model, { tokens }))
    const result: Record<string, number> = {}
    for (const { facet, templates, values, labels } of questions) {
      const prompts = promptsOf(values.map(inWords), templates).flat()
      const classes = labelEmbeddings(await embed(prompts), values.length)
      const places = labels.map((label, row) => rank(cosines(images, row, classes), label))
      result[`${facet}/top1`] = shareBelow(places, 1)
      if (values.length > 5) result[`${facet}/top5`] = shareBelow(places, 5)
    }
    if (retrieval) Object.assign(result, recall(images, await embed(firstCaptions(dataset))))
    return result
  }
}

type Tower = (model: ModelInTraining, inputs: Readonly<Record<string, Tensor>>) => Promise<Tensor<'float32'>>

/** A tower as a program of its own, compiled when it is first run. */
function towerOf(name: TowerName, graph: Graph): Tower {
  const own = prefixed(graph, name)
  const [output] = own.outputs as [string]
  let compiled: { readonly backend: Backend; readonly program: Promise<Program> } | undefined
  return async ({ backend, weights }: { backend: Backend; weights: ResidentWeights }, inputs) => {
    if (compiled?.backend !== backend) compiled = { backend, program: backend.compile(own) }
    const program = await compiled.program
    return (await program.run({ inputs, weights, fetch: [output] }))[output] as Tensor<'float32'>
  }
}

type TestBatch = Awaited<ReturnType<Batches['at']>>

async function forEachBatch(batches: Batches, run: (batch: TestBatch) => Promise<void>): Promise<void> {
  for (let step = 0; step < batches.stepsPerEpoch; step++) await run(await batches.at(step))
}

async function rowsOf(batches: Batches, embed: (batch: TestBatch) => Promise<Tensor<'float32'>>): Promise<Tensor<'float32'>> {
  const parts: Tensor<'float32'>[] = []
  await forEachBatch(batches, async (batch) => {
    parts.push(await embed(batch))
  })
  return joinRows(parts)
}

function firstCaptions(dataset: Dataset): string[] {
  return Array.from({ length: dataset.size }, (_, index) => dataset.item(index).captions?.[0]?.text ?? dataset.item(index).name)
}

/** Cosines of one picture with every text; both are unit vectors. */
function cosines(images: Tensor<'float32'>, row: number, texts: Tensor<'float32'>): Float64Array {
  return Float64Array.from({ length: texts.shape[0]! }, (_, text) => cosine(images, row, texts, text))
}

function cosine(images: Tensor<'float32'>, row: number, texts: Tensor<'float32'>, text: number): number {
  const width = texts.shape[1]!
  const [image, caption] = [row * width, text * width]
  let sum = 0
  for (let d = 0; d < width; d++) sum += images.data[image + d]! * texts.data[caption + d]!
  return sum
}

/** How many scores are higher than that of `right`; an equal one counts where it comes first, as an argmax would take it. */
function rank(scores: ArrayLike<number>, right: number): number {
  let higher = 0
  for (let index = 0; index < scores.length; index++) {
    if (scores[index]! > scores[right]! || (index < right && scores[index] === scores[right])) higher++
  }
  return higher
}

const shareBelow = (places: readonly number[], limit: number) => places.filter((place) => place < limit).length / places.length

/** Row i of one belongs to row i of the other; rows with the same text are each other's equals and do not count against one another. */
function recall(images: Tensor<'float32'>, texts: Tensor<'float32'>): Record<string, number> {
  const nRows = images.shape[0]!
  const toText = new Array<number>(nRows).fill(0)
  const toImage = new Array<number>(nRows).fill(0)
  const own = Float64Array.from({ length: nRows }, (_, row) => cosine(images, row, texts, row))
  for (let row = 0; row < nRows; row++) {
    cosines(images, row, texts).forEach((score, column) => {
      if (score > own[row]!) toText[row]!++
      if (score > own[column]!) toImage[column]!++
    })
  }
  const at = (name: string, places: readonly number[]) => [1, 10].map((limit) => [`${name}@${limit}`, shareBelow(places, limit)] as const)
  return Object.fromEntries([...at('imageToText', toText), ...at('textToImage', toImage)])
}

/**
 * Which formula a transcoder's `W_skip` is for. ViT-Prisma has had two, x W_skip' and x (I + W_skip'), and its files do not say which; the
 * model does: the right one explains what the transcoder was trained to predict, and the other is off by the whole of its input.
 */

import type { Backend } from '../backends/backend.js'
import { invariant } from '../errors.js'
import { expose, findHookPoints } from '../graph/edit.js'
import type { Graph } from '../graph/graph.js'
import { prune } from '../graph/prune.js'
import { loadModel } from '../models/load.js'
import type { VisionConfig } from '../models/model.js'
import { createRandom } from '../random.js'
import { loadSae } from '../saes/load-sae.js'
import type { SaeConfig, TranscoderConfig } from '../saes/sae.js'
import { saeGraph } from '../saes/sae-graph.js'
import { elementCount, float32, type Tensor } from '../tensor.js'
import type { ModelSource, SaeSource } from './host.js'

export type SkipFormula = Exclude<TranscoderConfig['skip'], 'none'>

export interface SkipMeasurement {
  /** The one that explains more. */
  readonly skip: SkipFormula
  /** 1 less the squared error over the squared distance from the mean, over all tokens; 1 is perfect, below 0 is worse than the mean. */
  readonly explainedVariance: Readonly<Record<SkipFormula, number>>
  readonly nPictures: number
}

const formulas: readonly SkipFormula[] = ['linear', 'linear-and-identity']
const N_PICTURES = 8

/** Whether there is something to measure: both formulas can be meant. */
export function hasOpenSkip({ transcoder, dIn, dOut }: SaeConfig): boolean {
  return transcoder !== undefined && transcoder.skip !== 'none' && dIn === dOut
}

/**
 * Runs the model on generated pictures and the transcoder on what it reads there, once with each formula.
 *
 * @param sae  one with a skip, that fits the model
 * @throws     every error of model and SAE files; what `signal` says
 */
export async function measureSkip(
  backend: Backend,
  { model, sae, signal }: { readonly model: ModelSource; readonly sae: SaeSource; readonly signal?: AbortSignal | undefined },
): Promise<SkipMeasurement> {
  const stop = signal ? { signal } : {}
  const { description, weights } = await loadSae(sae.folder, { overrides: sae.overrides, ...stop })
  const { config } = description
  const { transcoder } = config
  invariant(transcoder !== undefined && hasOpenSkip(config), 'a skip is measured where there is one')
  const [x, y] = await activations(backend, { model, ...stop }, [config.hookPoint, transcoder.hookPointOut])
  const explained: [SkipFormula, number][] = []
  for (const skip of formulas) {
    const graph = saeGraph({ ...config, transcoder: { ...transcoder, skip } })
    const { reconstruction } = await runOnce(backend, graph, { inputs: { x }, weights })
    signal?.throwIfAborted()
    explained.push([skip, explainedVariance(reconstruction as Tensor<'float32'>, y)])
  }
  const explainedVariances = Object.fromEntries(explained) as Record<SkipFormula, number>
  const skip = explainedVariances['linear-and-identity'] > explainedVariances.linear ? 'linear-and-identity' : 'linear'
  return { skip, explainedVariance: explainedVariances, nPictures: N_PICTURES }
}

/** `[tokens, d]` of each hook point. */
async function activations(
  backend: Backend,
  { model, signal }: { readonly model: ModelSource; readonly signal?: AbortSignal },
  names: readonly [string, string],
): Promise<[Tensor<'float32'>, Tensor<'float32'>]> {
  const loaded = await loadModel(model.folder, { processing: model.processing, ...(signal && { signal }) })
  const { buildGraph, weights } = loaded.towers.vision
  const built = buildGraph(new Set(names))
  const values = findHookPoints(built, names).map(({ firings }) => firings.at(-1)!)
  const graph = prune({ ...expose(built, names), outputs: [...new Set(values)] })
  const [input] = Object.keys(built.inputs) as [string]
  const fetched = await runOnce(backend, graph, {
    inputs: { [input]: generatedPictures(loaded.description.vision.config as VisionConfig) },
    weights,
  })
  return values.map((value) => asTokens(fetched[value] as Tensor<'float32'>)) as [Tensor<'float32'>, Tensor<'float32'>]
}

async function runOnce(
  backend: Backend,
  graph: Graph,
  { inputs, weights }: { readonly inputs: Readonly<Record<string, Tensor>>; readonly weights: Readonly<Record<string, Tensor>> },
): Promise<Record<string, Tensor>> {
  const [program, resident] = await Promise.all([backend.compile(graph), backend.upload(weights)])
  try {
    return await program.run({ inputs, weights: resident, fetch: graph.outputs })
  } finally {
    await Promise.all([program.dispose(), resident.dispose()])
  }
}

const asTokens = ({ shape, data }: Tensor<'float32'>) => float32([elementCount(shape.slice(0, -1)), shape.at(-1)!], data)

/** Soft patches of colour with a little noise, as a model gets pictures: about mean 0 and deviation 1. */
function generatedPictures({ nChannels, imageSize: { height, width } }: VisionConfig): Tensor<'float32'> {
  const random = createRandom(1)
  const cells = 7
  const data = new Float32Array(N_PICTURES * nChannels * height * width)
  let at = 0
  for (let plane = 0; plane < N_PICTURES * nChannels; plane++) {
    const colours = Float32Array.from({ length: (cells + 1) ** 2 }, () => random.normal())
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        data[at++] = between(colours, cells, (row / height) * cells, (column / width) * cells) + 0.2 * random.normal()
      }
    }
  }
  return { dtype: 'float32', shape: [N_PICTURES, nChannels, height, width], data }
}

/** Bilinear. */
function between(values: Float32Array, cells: number, y: number, x: number): number {
  const [row, column] = [Math.floor(y), Math.floor(x)]
  const [down, right] = [y - row, x - column]
  const value = (dy: number, dx: number) => values[(row + dy) * (cells + 1) + column + dx]!
  return (1 - down) * ((1 - right) * value(0, 0) + right * value(0, 1)) + down * ((1 - right) * value(1, 0) + right * value(1, 1))
}

function explainedVariance(predicted: Tensor<'float32'>, target: Tensor<'float32'>): number {
  const [rows, width] = target.shape as [number, number]
  const means = new Float64Array(width)
  for (let at = 0; at < target.data.length; at++) means[at % width]! += target.data[at]! / rows
  let [error, variance] = [0, 0]
  for (let at = 0; at < target.data.length; at++) {
    error += (target.data[at]! - predicted.data[at]!) ** 2
    variance += (target.data[at]! - means[at % width]!) ** 2
  }
  return 1 - error / variance
}

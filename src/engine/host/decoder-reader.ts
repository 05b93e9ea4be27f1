/**
 * Reads the decoders of SAEs that are in memory: single rows, and all rows against embeddings.
 */

import type { Backend, ResidentWeights } from '../backends/backend.js'
import { EngineError } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import {
  answerWidth,
  decoderRowsGraph,
  type Projection,
  projectedLengthsGraph,
  projectedProductsGraph,
  reachesAnswer,
} from '../saes/decoder-graphs.js'
import type { SaeConfig } from '../saes/sae.js'
import { float32, int64, type Tensor } from '../tensor.js'

/** Rows that are projected at once. */
const ROWS = 4096

/** Projected to the 49,152 rows of an SAE, 512 wide, and the answer for `n` embeddings; beside the weights themselves. */
export function cosineBytes({ dSae, dOut }: SaeConfig, { width, n }: { readonly width: number; readonly n: number }): number {
  return 4 * (Math.min(ROWS, dSae) * (3 * dOut + 2 * width) + 3 * dSae * n)
}

export interface ReadableSae {
  readonly config: SaeConfig
  readonly weights: ResidentWeights
  /** Of the projected rows, by model; found when first needed. */
  readonly lengths: Map<string, Float32Array>
}

export interface ReadableModel extends Projection {
  readonly key: string
  readonly weights: ResidentWeights
}

export class DecoderReader {
  readonly #backend: Backend

  constructor(backend: Backend) {
    this.#backend = backend
  }

  /** `[latents, dOut]` @throws INPUT_INVALID */
  async rows({ config, weights }: ReadableSae, latents: readonly number[]): Promise<Tensor<'float32'>> {
    for (const latent of latents) {
      if (Number.isInteger(latent) && latent >= 0 && latent < config.dSae) continue
      throw new EngineError('INPUT_INVALID', { path: 'latents', problem: `${latent} is out of range; there are 0 to ${config.dSae - 1}` })
    }
    const [rows] = await this.#run(decoderRowsGraph(config), weights, [{ latents: int64([latents.length], latents) }])
    return rows!
  }

  /**
   * Cosines of each row, projected, with each embedding, `[dSae, n]`; 0 of a row that has no length.
   * @param embeddings  unit vectors, `[n, dEmbed]`
   */
  async cosines(model: ReadableModel, sae: ReadableSae, embeddings: Tensor<'float32'>): Promise<Tensor<'float32'>> {
    if (!reachesAnswer(sae.config, model.config)) {
      const { hookPoint, transcoder } = sae.config
      const problem = `its decoder writes to ${transcoder?.hookPointOut ?? hookPoint}, from where the model's answer is not read by a projection alone`
      throw new EngineError('SAE_MISFIT', { sae: 'the SAE', model: model.key, problems: [problem] })
    }
    const width = answerWidth(model.config)
    if (embeddings.shape.length !== 2 || embeddings.shape[1] !== width) {
      throw new EngineError('SHAPE_MISMATCH', { what: 'Embeddings', expected: ['n', width], actual: embeddings.shape })
    }
    const weights = this.#backend.combine([
      { prefix: '', weights: model.weights },
      { prefix: '', weights: sae.weights },
    ])
    const lengths = sae.lengths.get(model.key) ?? (await this.#lengths(model, sae, weights))
    sae.lengths.set(model.key, lengths)
    const [products] = await this.#run(projectedProductsGraph(sae.config, model), weights, [{ embeddings }])
    const n = embeddings.shape[0]!
    const data = products!.data.map((product, at) => (product === 0 ? 0 : product / lengths[Math.floor(at / n)]!))
    return float32([sae.config.dSae, n], data)
  }

  async #lengths(model: ReadableModel, { config }: ReadableSae, weights: ResidentWeights): Promise<Float32Array> {
    const { dSae } = config
    const parts = Array.from({ length: Math.ceil(dSae / ROWS) }, (_, part) => {
      const n = Math.min(ROWS, dSae - part * ROWS)
      const latents = Array.from({ length: n }, (_, at) => part * ROWS + at)
      return { latents: int64([n], latents) }
    })
    const found = await this.#run(projectedLengthsGraph(config, model), weights, parts)
    const lengths = new Float32Array(dSae)
    for (const [part, { data }] of found.entries()) lengths.set(data, part * ROWS)
    return lengths
  }

  /** The only output of a graph for each of several inputs. Compiling such a graph takes a few milliseconds. */
  async #run(graph: Graph, weights: ResidentWeights, feeds: readonly Readonly<Record<string, Tensor>>[]): Promise<Tensor<'float32'>[]> {
    const program = await this.#backend.compile(graph)
    try {
      const made: Tensor<'float32'>[] = []
      for (const inputs of feeds) {
        const { [graph.outputs[0]!]: value } = await program.run({ inputs, weights, fetch: graph.outputs })
        made.push(value as Tensor<'float32'>)
      }
      return made
    } finally {
      await program.dispose()
    }
  }
}

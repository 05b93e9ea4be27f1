/**
 * What an evaluation has measured so far: a row of sums for each batch, and which latents were ever active. Shards merge in any way into the
 * same: rows are kept by batch and added up, in the order of batches, only at the end.
 */

import { EngineError } from '../errors.js'
import { bytesSource } from '../io/byte-source.js'
import { joinChunks } from '../io/named-tensors.js'
import { damaged, invalidFile } from '../io/refusals.js'
import { readSafetensor, readSafetensorsHeader, safetensorsChunks } from '../io/safetensors.js'
import { type Tensor, tensor } from '../tensor.js'
import type { TokenKind } from './feature-record.js'

/** Numbers by name that add up over batches. */
export type Sums = Readonly<Record<string, number>>

/** The tokens of one kind at a hook point in one batch. */
export interface Cluster {
  readonly n: number
  /** `[dOut]` */
  readonly mean: Float32Array
  /** Sum of the squared distances from the mean. */
  readonly scatter: number
}

export type Clusters = Readonly<Partial<Record<TokenKind, Cluster>>>

export interface BatchRow {
  readonly nImages: number
  /** Of the model as it is. */
  readonly clean: Sums
  /** By SAE. */
  readonly sums: Readonly<Record<string, Sums>>
  /** By target: SAEs that predict the same tokens share them. */
  readonly clusters: Readonly<Record<string, Clusters>>
}

export interface EvaluatedSae {
  readonly id: string
  readonly dSae: number
  /** In `clusters`. */
  readonly target: string
}

export interface EvaluationShard {
  readonly saes: readonly EvaluatedSae[]
  /** What prisma-compat cross-entropies are over: a classifier or the bare class names, as published, or other texts. */
  readonly prismaScores: 'as-published' | 'other-texts'
  /** By the batch's number. */
  readonly batches: ReadonlyMap<number, BatchRow>
  /** By SAE, `[dSae]`: 1 for a latent that was active. */
  readonly fired: Readonly<Record<string, Uint8Array>>
}

export function emptyEvaluation({ saes, prismaScores }: Pick<EvaluationShard, 'saes' | 'prismaScores'>): EvaluationShard {
  return { saes, prismaScores, batches: new Map(), fired: Object.fromEntries(saes.map(({ id, dSae }) => [id, new Uint8Array(dSae)])) }
}

/** @throws CHECKPOINT_MISMATCH when the shards are of different evaluations, or both have the same batch */
export function mergeEvaluations(a: EvaluationShard, b: EvaluationShard): EvaluationShard {
  const problems: string[] = []
  if (plan(a) !== plan(b)) problems.push('they are not of the same SAEs, in the same order')
  const shared = [...a.batches.keys()].filter((batch) => b.batches.has(batch))
  if (shared.length > 0) problems.push(`both have batch ${shared.join(', ')}`)
  if (problems.length > 0) throw new EngineError('CHECKPOINT_MISMATCH', { checkpoint: 'of another shard', problems })
  return {
    ...a,
    batches: new Map([...a.batches, ...b.batches]),
    fired: Object.fromEntries(a.saes.map(({ id }) => [id, a.fired[id]!.map((is, latent) => is | b.fired[id]![latent]!)])),
  }
}

const plan = ({ saes, prismaScores }: EvaluationShard) => JSON.stringify([saes, prismaScores])

/** Names of numbers, the same in every batch. */
interface Columns {
  readonly clean: readonly string[]
  readonly sums: Readonly<Record<string, readonly string[]>>
  readonly clusters: Readonly<Record<string, readonly TokenKind[]>>
}

const FILE = 'evaluation shard'

/** As a safetensors file: the same shard makes the same bytes, however it was merged. */
export function evaluationToBytes(shard: EvaluationShard): Uint8Array {
  const order = [...shard.batches.keys()].sort((x, y) => x - y)
  const rows = order.map((batch) => shard.batches.get(batch)!)
  const first = rows[0]
  const targets = [...new Set(shard.saes.map(({ target }) => target))]
  const columns: Columns = {
    clean: Object.keys(first?.clean ?? {}),
    sums: Object.fromEntries(shard.saes.map(({ id }) => [id, Object.keys(first?.sums[id] ?? {})])),
    clusters: Object.fromEntries(targets.map((target) => [target, Object.keys(first?.clusters[target] ?? {}) as TokenKind[]])),
  }
  const table = (names: readonly string[], of: (row: BatchRow) => Sums): Tensor =>
    tensor('float64', [rows.length, names.length], Float64Array.from(rows.flatMap((row) => names.map((name) => of(row)[name]!))))
  const tensors: [string, Tensor][] = [
    ['batches', tensor('float64', [rows.length, 2], Float64Array.from(rows.flatMap(({ nImages }, at) => [order[at]!, nImages])))],
    ['clean', table(columns.clean, ({ clean }) => clean)],
  ]
  shard.saes.forEach(({ id }, at) => {
    tensors.push([`sums.${at}`, table(columns.sums[id]!, ({ sums }) => sums[id]!)])
    tensors.push([`fired.${at}`, tensor('uint8', [shard.fired[id]!.length], shard.fired[id]!)])
  })
  targets.forEach((target, at) => {
    for (const kind of columns.clusters[target]!) {
      const clusters = rows.map((row) => row.clusters[target]![kind]!)
      const width = clusters[0]!.mean.length
      const means = new Float32Array(rows.length * width)
      for (const [row, { mean }] of clusters.entries()) means.set(mean, row * width)
      tensors.push([`clusters.${at}.${kind}.mean`, tensor('float32', [rows.length, width], means)])
      const spread = Float64Array.from(clusters.flatMap(({ n, scatter }) => [n, scatter]))
      tensors.push([`clusters.${at}.${kind}.spread`, tensor('float64', [rows.length, 2], spread)])
    }
  })
  const metadata = {
    format: 'refract-evaluation-1',
    plan: JSON.stringify({ saes: shard.saes, prismaScores: shard.prismaScores, targets, columns }),
  }
  return joinChunks(safetensorsChunks(tensors, metadata))
}

/** @throws FILE_INVALID */
export async function evaluationFromBytes(bytes: Uint8Array): Promise<EvaluationShard> {
  try {
    return await readEvaluation(bytes)
  } catch (error) {
    throw damaged(FILE, error)
  }
}

async function readEvaluation(bytes: Uint8Array): Promise<EvaluationShard> {
  const source = bytesSource(bytes)
  const header = await readSafetensorsHeader(source, FILE)
  if (header.metadata.get('format') !== 'refract-evaluation-1') throw invalidFile(FILE, 'is not one that this version wrote.')
  const { saes, prismaScores, targets, columns } = JSON.parse(header.metadata.get('plan') ?? '{}') as Pick<
    EvaluationShard,
    'saes' | 'prismaScores'
  > & {
    targets: readonly string[]
    columns: Columns
  }
  const read = async (name: string) => (await readSafetensor(source, header, name)).data as Float64Array
  const numbers = await read('batches')
  const nRows = numbers.length / 2
  const table = async (name: string, names: readonly string[]): Promise<Sums[]> => {
    const data = await read(name)
    return Array.from({ length: nRows }, (_, row) =>
      Object.fromEntries(names.map((key, column) => [key, data[row * names.length + column]!])),
    )
  }
  const clean = await table('clean', columns.clean)
  const sums = await Promise.all(saes.map(({ id }, at) => table(`sums.${at}`, columns.sums[id]!)))
  const clusters = await Promise.all(targets.map((target, at) => readClusters(at, columns.clusters[target]!)))
  const fired = await Promise.all(
    saes.map(async (_, at) => Uint8Array.from((await readSafetensor(source, header, `fired.${at}`)).data as Uint8Array)),
  )
  const row = (at: number): BatchRow => ({
    nImages: numbers[2 * at + 1]!,
    clean: clean[at]!,
    sums: Object.fromEntries(saes.map(({ id }, sae) => [id, sums[sae]![at]!])),
    clusters: Object.fromEntries(targets.map((target, index) => [target, clusters[index]![at]!])),
  })
  return {
    saes,
    prismaScores,
    batches: new Map(Array.from({ length: nRows }, (_, at) => [numbers[2 * at]!, row(at)])),
    fired: Object.fromEntries(saes.map(({ id }, at) => [id, fired[at]!])),
  }

  async function readClusters(target: number, kinds: readonly TokenKind[]): Promise<Clusters[]> {
    const read = await Promise.all(
      kinds.map(async (kind) => {
        const mean = await readSafetensor(source, header, `clusters.${target}.${kind}.mean`)
        const spread = await readSafetensor(source, header, `clusters.${target}.${kind}.spread`)
        return { kind, width: mean.shape[1]!, means: mean.data as Float32Array, spread: spread.data as Float64Array }
      }),
    )
    return Array.from({ length: nRows }, (_, at) =>
      Object.fromEntries(
        read.map(({ kind, width, means, spread }) => [
          kind,
          { n: spread[2 * at]!, mean: means.slice(at * width, (at + 1) * width), scatter: spread[2 * at + 1]! },
        ]),
      ),
    )
  }
}

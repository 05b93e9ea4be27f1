import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { expose } from '../../../../src/engine/graph/edit.js'
import { loadModel } from '../../../../src/engine/models/load.js'
import type { VisionConfig } from '../../../../src/engine/models/model.js'
import { createRandom } from '../../../../src/engine/random.js'
import { float32, type Tensor } from '../../../../src/engine/tensor.js'
import { activationGraph, openActivationSource, type Positions, readName } from '../../../../src/engine/training/saes/activation-source.js'
import { createActivationStream } from '../../../../src/engine/training/saes/activation-stream.js'
import { reference, runOnce } from '../../each-backend.js'
import '../../close-tensor.js'
import { folderOf } from '../../models/fixtures.js'

const backend = await reference.create()
const model = await loadModel(folderOf('hf-clip'))
const tower = model.towers.vision
const config = model.description.vision.config as VisionConfig
const pixels = float32(
  [2, 3, 13, 13],
  Array.from({ length: 2 * 3 * 13 * 13 }, (_, at) => Math.sin(at * 1.7)),
)

describe('rows of activations', () => {
  const reads = [
    { hookPoint: 'blocks.0.hook_resid_post' },
    { hookPoint: 'blocks.0.attn.hook_z' },
    { hookPoint: 'blocks.0.attn.hook_z', headIndex: 2 },
    { hookPoint: 'blocks.0.mlp.hook_post' },
  ]
  const names = [...new Set(reads.map(({ hookPoint }) => hookPoint))]

  test.each(['all', 'cls', 'patches'] as Positions[])(
    'of %s positions are those that the model has at its hook points',
    async (positions) => {
      const source = await openActivationSource({ backend, tower, config, reads, positions })
      const rows = await source.read(pixels)
      const values = await runOnce(backend, expose(tower.buildGraph(new Set()), names), { inputs: { pixels }, weights: tower.weights })
      const [from, to] = { all: [0, 10], cls: [0, 1], patches: [1, 10] }[positions] as [number, number]
      expect(source.rowsPerPicture).toBe(to - from)
      expect(source.widths).toEqual({
        'blocks.0.hook_resid_post': 16,
        'blocks.0.attn.hook_z': 16,
        'blocks.0.attn.hook_z[2]': 4,
        'blocks.0.mlp.hook_post': 24,
      })
      for (const read of reads) {
        const { data, shape } = values[read.hookPoint]! as Tensor<'float32'>
        const width = shape.slice(2).reduce((a, b) => a * b, 1)
        const expected = [0, 1].flatMap((picture) =>
          Array.from({ length: to - from }, (_, row) => {
            const start = (picture * shape[1]! + from + row) * width
            const whole = [...data.subarray(start, start + width)]
            return read.headIndex === undefined ? whole : whole.slice(read.headIndex * 4, read.headIndex * 4 + 4)
          }).flat(),
        )
        expect([...rows[readName(read)]!]).toEqual(expected)
      }
      await source.dispose()
    },
  )

  test('need nothing of the model after the last hook point', () => {
    const { graph } = activationGraph(tower.buildGraph(new Set()), {
      config,
      reads: [{ hookPoint: 'blocks.0.hook_resid_post' }],
      positions: 'all',
    })
    expect(Object.keys(graph.parameters).filter((name) => /^blocks\.1|^ln_final|^head/.test(name))).toEqual([])
    expect(Object.keys(graph.parameters).some((name) => name.startsWith('blocks.0.'))).toBe(true)
  })

  test.each([
    [{ hookPoint: 'blocks.0.attn.hook_pattern' }, 'all', 'has no row for each token'],
    [{ hookPoint: 'blocks.0.hook_mlp_out', headIndex: 0 }, 'all', 'has no heads'],
    [{ hookPoint: 'blocks.0.attn.hook_z', headIndex: 4 }, 'all', 'has 4 heads, from 0'],
    [{ hookPoint: 'hook_embed' }, 'cls', 'has no CLS token'],
    [{ hookPoint: 'blocks.9.hook_mlp_out' }, 'all', 'Unknown hook point'],
  ] as const)('are refused where there are none: %j of %s', async (read, positions, message) => {
    await expect(openActivationSource({ backend, tower, config, reads: [read], positions })).rejects.toThrow(message)
  })
})

describe('the stream of activations', () => {
  /** Picture batch s has the rows s * perBatch, s * perBatch + 1, ...; each says its own number, and the second read its negative. */
  const streamOf = ({ rowsPerPicture = 5, picturesPerBatch = 3, batchSize = 4, windows = 4, seed = 1 } = {}) => {
    let nReads = 0
    const perBatch = rowsPerPicture * picturesPerBatch
    const stream = createActivationStream({
      source: {
        rowsPerPicture,
        widths: { a: 2, b: 1 },
        read: async ({ data }) => {
          nReads++
          const first = Number(data[0]) * perBatch
          const rows = Array.from({ length: perBatch }, (_, row) => first + row)
          return { a: Float32Array.from(rows.flatMap((row) => [row, row + 0.5])), b: Float32Array.from(rows, (row) => -row) }
        },
      },
      pictures: { at: async (step) => ({ pixels: float32([picturesPerBatch], new Array<number>(picturesPerBatch).fill(step)) }) },
      picturesPerBatch,
      batchSize,
      bufferBytes: 2 * 12 * batchSize * windows,
      random: createRandom(seed),
    })
    return { stream, reads: () => nReads }
  }
  const rowsAt = async (stream: ReturnType<typeof streamOf>['stream'], step: number) =>
    [...(await stream.at(step)).b!.data].map((value) => -value)

  test('hands out each row once, in an order that is not theirs', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 2, max: 7 }),
        async (rowsPerPicture, picturesPerBatch, batchSize, windows) => {
          const { stream } = streamOf({ rowsPerPicture, picturesPerBatch, batchSize, windows })
          const nBatches = Math.floor(windows / 2) + 3 * windows
          const seen: number[] = []
          for (let step = 0; step < nBatches; step++) seen.push(...(await rowsAt(stream, step)))
          expect(new Set(seen).size).toBe(seen.length)
          // Three windows are used up, and of the fourth the first half.
          const complete = 3 * stream.rowsPerWindow
          expect(seen.filter((row) => row < complete).length).toBe(complete)
          expect(Math.max(...seen)).toBeLessThan(4 * stream.rowsPerWindow)
        },
      ),
      { numRuns: 30 },
    )
    const { stream } = streamOf({ windows: 20 })
    expect(await rowsAt(stream, 1)).not.toEqual([...(await rowsAt(stream, 1))].sort((a, b) => a - b))
  })

  test('keeps the reads of a token together', async () => {
    const { stream } = streamOf()
    for (let step = 0; step < 12; step++) {
      const { a, b } = await stream.at(step)
      for (let row = 0; row < 4; row++) expect([...a!.data.subarray(2 * row, 2 * row + 2)]).toEqual([-b!.data[row]!, -b!.data[row]! + 0.5])
    }
  })

  test('gives the same batch from wherever it is begun, and in any order', async () => {
    const { stream } = streamOf()
    const inOrder: number[][] = []
    for (let step = 0; step < 20; step++) inOrder.push(await rowsAt(stream, step))
    for (const start of [0, 3, 13, 7, 1]) {
      const other = streamOf().stream
      for (let step = start; step < 20; step++) expect(await rowsAt(other, step)).toEqual(inOrder[step])
    }
    expect(await rowsAt(stream, 2)).toEqual(inOrder[2])
    expect(await rowsAt(streamOf({ seed: 2 }).stream, 2)).not.toEqual(inOrder[2])
  })

  test('runs the model once for each picture', async () => {
    const { stream, reads } = streamOf()
    for (let step = 0; step < 50; step++) await stream.at(step)
    expect(reads()).toBeLessThanOrEqual(Math.ceil((50 * 4 + stream.rowsPerWindow) / 15) + 1)
  })

  test('needs a budget that holds two batches in each of two windows', () => {
    expect(() => streamOf({ windows: 1.5 })).toThrow(
      /bufferBytes: \d+ is too little to shuffle batches of 4 rows of 12 bytes: at least 192 are needed/,
    )
    expect(streamOf({ windows: 2 }).stream.rowsPerWindow).toBe(8)
  })
})

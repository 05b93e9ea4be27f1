import { beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { GraphBuilder } from '../../../src/engine/graph/builder.js'
import { structureHash } from '../../../src/engine/graph/hash.js'
import { applyEdits, editInputs, editStructure } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit, FeatureEdit } from '../../../src/engine/interventions/edit.js'
import { mergeEditInputs } from '../../../src/engine/interventions/merge-inputs.js'
import { writtenHookPoint } from '../../../src/engine/interventions/spliced-sae.js'
import { decode, encoderInput } from '../../../src/engine/saes/encode-decode.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { encoderGraph } from '../../../src/engine/saes/sae-graph.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import '../close-tensor.js'
import { backends, onnxruntime, runOnce } from '../each-backend.js'
import { saeConfig, saeConfigs, type TinySae, tinySae } from './tiny-saes.js'
import { row, run, runGraph, stack, type TinyTower, visionConfig, visionTower } from './tiny-towers.js'

const plain = visionTower([], { ...visionConfig, nLayers: 2 })

/** The tower with SAEs beside it, and their weights among its own. */
function withSaes(saes: readonly TinySae[]): TinyTower {
  return { ...plain, saes, weights: Object.assign({}, plain.weights, ...saes.map(({ weights }) => weights)) }
}

type Change = FeatureEdit extends infer E ? (E extends unknown ? Omit<E, 'sae' | 'keepError'> : never) : never

const at = (hookPoint: string, change: Change, more: object = {}) => ({ hookPoint, sae: 0, ...change, ...more }) as Edit

const changes: readonly { readonly change: Change; readonly becomes: (z: number, feature: number) => number }[] = [
  { change: { op: 'reconstruct' }, becomes: (z) => z },
  {
    change: {
      op: 'feature-add',
      features: [
        { feature: 3, strength: 1.5 },
        { feature: 20, strength: -2 },
      ],
    },
    becomes: (z, feature) => (feature === 3 ? z + 1.5 : feature === 20 ? z - 2 : z),
  },
  {
    change: {
      op: 'feature-set',
      features: [
        { feature: 0, value: 2 },
        { feature: 7, value: 0 },
      ],
    },
    becomes: (z, feature) => (feature === 0 ? 2 : feature === 7 ? 0 : z),
  },
  {
    change: {
      op: 'feature-scale',
      features: Array.from({ length: 24 }, (_, feature) => ({ feature, strength: feature / 8 - 1 })),
    },
    becomes: (z, feature) => (feature / 8 - 1) * z,
  },
  {
    change: {
      op: 'feature-clamp',
      features: [
        { feature: 1, max: 0.1 },
        { feature: 2, min: 0.5 },
        { feature: 4, min: 0.2, max: 0.3 },
      ],
    },
    becomes: (z, feature) =>
      feature === 1 ? Math.min(z, 0.1) : feature === 2 ? Math.max(z, 0.5) : feature === 4 ? Math.min(Math.max(z, 0.2), 0.3) : z,
  },
  {
    change: { op: 'feature-ablate', features: [{ feature: 5 }, { feature: 6 }] },
    becomes: (z, feature) => (feature === 5 || feature === 6 ? 0 : z),
  },
]

describe.each(backends)('edits of features on %s', (under) => {
  let backend: Backend
  beforeAll(async () => {
    backend = await under.create()
  })

  // The formulas are graphs of operators that are tested on every backend by themselves: all of them once, and the different kinds on each.
  const tried =
    under === onnxruntime ? Object.keys(saeConfigs) : ['standard, layer_norm', 'topk', 'gated', 'transcoder with skip', 'of one head']

  describe.each(tried)('of an SAE, %s', (name) => {
    const config = saeConfigs[name]!
    const sae = tinySae(config)
    const tower = withSaes([sae])
    const hookPoint = writtenHookPoint(config)
    let values: Record<string, Tensor>
    beforeAll(async () => {
      values = (await run(backend, tower, { read: [config.hookPoint, hookPoint], seeds: [1, 2] })).values
    })

    test.each(changes)('$change.op is its formula, with the error kept and without', async ({ change, becomes }) => {
      const expected = await byFormula(backend, sae, { values, becomes })
      for (const keepError of [true, false]) {
        const edits = [at(hookPoint, change, { keepError })]
        const edited = await run(backend, tower, { edits, read: [hookPoint], seeds: [1, 2] })
        expect(edited.values[hookPoint]).toBeCloseTensor(keepError ? expected.kept : expected.dropped)
      }
    })

    test('what changes nothing changes no bit', async () => {
      const features = [{ feature: 3 }, { feature: 20 }]
      const nothings: Change[] = [
        { op: 'reconstruct' },
        { op: 'feature-add', features: features.map((each) => ({ ...each, strength: 0 })) },
        { op: 'feature-scale', features: features.map((each) => ({ ...each, strength: 1 })) },
        { op: 'feature-clamp', features: features.map((each) => ({ ...each, min: -1000, max: 1000 })) },
      ]
      for (const change of nothings) {
        const edited = await run(backend, tower, { edits: [at(hookPoint, change)], read: [hookPoint], seeds: [1, 2] })
        expect(edited.values[hookPoint]!.data).toEqual(values[hookPoint]!.data)
      }
    })
  })

  const resid = saeConfig.hookPoint
  const tower = withSaes([tinySae(saeConfig)])

  test('ablation with the error kept is the direct edit: taking z times the decoder row away', async () => {
    const sae = tinySae(saeConfig)
    const seed = 3
    const ablated = await run(backend, tower, { edits: [at(resid, { op: 'feature-ablate', features: [{ feature: 9 }] })], seeds: [seed] })
    const { values } = await run(backend, tower, { read: [resid], seeds: [seed] })
    const z = await latentsOf(backend, sae, rowsOf(values[resid]!, 8))
    const direction = (sae.own.W_dec!.data as Float32Array).slice(9 * 8, 10 * 8)
    const direct = Array.from({ length: 6 }, (_, position): Edit => {
      return { hookPoint: resid, positions: [position], op: 'add', vector: direction, strength: -z.data[position * 24 + 9]!, unit: 'raw' }
    })
    expect(z.data.filter((_, at) => at % 24 === 9).some((value) => value > 0)).toBe(true)
    expect(ablated.output).toBeCloseTensor((await run(backend, tower, { edits: direct, seeds: [seed] })).output)
  })

  test('only the chosen positions change, by name, by index or by mask', async () => {
    const { values } = await run(backend, tower, { read: [resid] })
    const was = values[resid]!.data as Float32Array
    for (const positions of ['cls', [0], [true, false, false, false, false, false]] as const) {
      for (const keepError of [true, false]) {
        const change: Change = { op: 'feature-set', features: [{ feature: 1, value: 4 }] }
        const edited = await run(backend, tower, { edits: [at(resid, change, { positions, keepError })], read: [resid] })
        const is = edited.values[resid]!.data as Float32Array
        expect(is.slice(8)).toEqual(was.slice(8))
        expect(is.slice(0, 8)).not.toEqual(was.slice(0, 8))
      }
    }
  })

  test('several SAEs at several layers, in order: the later sees what the earlier caused', async () => {
    const later = { ...saeConfig, hookPoint: 'blocks.1.hook_resid_post' }
    const two = withSaes([tinySae(saeConfig, 0), tinySae(later, 1)])
    const first = at(resid, { op: 'feature-add', features: [{ feature: 2, strength: 3 }] })
    const second = at(later.hookPoint, { op: 'feature-scale', features: [{ feature: 4, strength: -2 }] }, { sae: 1 })
    const both = await run(backend, two, { edits: [first, second], read: [resid, later.hookPoint] })
    const onlyFirst = await run(backend, two, { edits: [first], read: [resid, later.hookPoint] })
    expect(both.values[resid]!.data).toEqual(onlyFirst.values[resid]!.data)
    const becomes = (z: number, feature: number) => (feature === 4 ? -2 * z : z)
    const expected = await byFormula(backend, tinySae(later, 1), { values: onlyFirst.values, becomes })
    expect(both.values[later.hookPoint]).toBeCloseTensor(expected.kept)
    const other = await run(backend, two, { edits: [second, first], read: [later.hookPoint] })
    expect(other.values[later.hookPoint]).toBeCloseTensor(both.values[later.hookPoint]!)
  })

  test('two edits of one SAE at one place: the second encodes what the first made', async () => {
    const set = at(resid, { op: 'feature-set', features: [{ feature: 1, value: 2 }] }, { keepError: false })
    const scale = at(resid, { op: 'feature-scale', features: [{ feature: 2, strength: 3 }] })
    const once = await run(backend, tower, { edits: [set], read: [resid] })
    const twice = await run(backend, tower, { edits: [set, scale], read: [resid] })
    const becomes = (z: number, feature: number) => (feature === 2 ? 3 * z : z)
    const expected = await byFormula(backend, tinySae(saeConfig), { values: once.values, becomes })
    expect(twice.values[resid]).toBeCloseTensor(expected.kept)
  })

  test('requests with other features, numbers and positions share a batch and equal each by itself', async () => {
    const request = (feature: number, strength: number, positions: 'all' | number[]) => [
      at(resid, { op: 'feature-scale', features: [{ feature, strength }] }, { positions }),
    ]
    const requests = [
      { edits: request(2, 5, 'all'), seeds: [1, 2] },
      { edits: request(7, -3, [1, 2]), seeds: [3] },
      { edits: [at(resid, { op: 'feature-ablate', features: [{ feature: 11 }] })], seeds: [4, 5, 6] },
    ]
    const alone = await Promise.all(requests.map((each) => run(backend, tower, each)))
    const { graph, roles } = applyEdits(tower.graph, requests[0]!.edits, tower)
    const shares = requests.map(({ edits, seeds }) => ({ nRows: seeds.length, inputs: editInputs(edits, tower, seeds.length) }))
    const pixels = stack(requests.flatMap(({ seeds }) => seeds.map(tower.input)))
    const together = await runGraph(backend, tower, { graph, inputs: { pixels, ...mergeEditInputs(shares, roles) } })
    for (const index of [0, 1, 2, 3, 4, 5]) {
      const expected = stack(alone.map(({ output }) => output))
      expect(row(together.output, index)).toBeCloseTensor(row(expected, index))
    }
  })
})

describe('the structure of edits of features', () => {
  const tower = withSaes([tinySae(saeConfig, 0), tinySae(saeConfig, 1)])
  const resid = saeConfig.hookPoint
  const hash = (edits: Edit[]) => structureHash(applyEdits(tower.graph, edits, tower).graph)
  const set = at(resid, { op: 'feature-set', features: [{ feature: 1, value: 2 }] })

  test('features, numbers, positions and kinds leave no trace in it', () => {
    const others: Edit[] = [
      at(resid, { op: 'feature-set', features: [{ feature: 8, value: -1 }] }, { positions: [2] }),
      at(resid, { op: 'feature-scale', features: [{ feature: 3, strength: 2 }] }),
      at(resid, { op: 'feature-clamp', features: [{ feature: 3, max: 2 }] }),
      at(resid, { op: 'feature-ablate', features: [{ feature: 3 }] }),
    ]
    for (const other of others) {
      expect(editStructure([other])).toBe(editStructure([set]))
      expect(hash([other])).toBe(hash([set]))
    }
  })

  test('other SAEs, numbers of features, and whether the error is kept are other structures', () => {
    const others: Edit[] = [
      at(resid, { op: 'feature-set', features: [{ feature: 1, value: 2 }] }, { sae: 1 }),
      at(resid, { op: 'feature-set', features: [{ feature: 1, value: 2 }] }, { keepError: false }),
      at(resid, { op: 'feature-set', features: [1, 2].map((feature) => ({ feature, value: 2 })) }),
      at(resid, { op: 'feature-add', features: [{ feature: 1, strength: 2 }] }),
      at(resid, { op: 'reconstruct' }, { keepError: false }),
    ]
    for (const structure of [editStructure, hash])
      expect(new Set([set, ...others].map((each) => structure([each]))).size).toBe(others.length + 1)
  })
})

/** The edited hook point, computed by encoding and decoding everything by itself. */
async function byFormula(
  backend: Backend,
  sae: TinySae,
  { values, becomes }: { values: Readonly<Record<string, Tensor>>; becomes: (z: number, feature: number) => number },
): Promise<{ kept: Tensor; dropped: Tensor }> {
  const { config } = sae
  const hookPoint = values[writtenHookPoint(config)]!
  const tokens = rowsOf(values[config.hookPoint]!, config.dIn, config.headIndex)
  const z = await latentsOf(backend, sae, tokens)
  const edited = float32(
    z.shape,
    Array.from(z.data, (value, index) => becomes(value, index % config.dSae)),
  )
  const decoder = decoderGraph(config)
  const decoded = async (latents: Tensor<'float32'>) =>
    Object.values(await runOnce(backend, decoder, { inputs: { x: tokens, latents }, weights: sae.own }))[0]!.data as Float32Array
  const [before, after] = [await decoded(z), await decoded(edited)]
  const put = (change: (x: number, index: number) => number) => float32(hookPoint.shape, put1(hookPoint, config, change))
  return { kept: put((x, index) => x + (after[index]! - before[index]!)), dropped: put((_x, index) => after[index]!) }
}

/** What the SAE writes counts on where it writes; elsewhere the value stays. */
function put1({ data, shape }: Tensor, { headIndex }: SaeConfig, change: (x: number, index: number) => number): number[] {
  const [nHeads, dHead] = [shape[2]!, shape[3]!]
  return Array.from(data as Float32Array, (x, at) => {
    if (headIndex === undefined) return change(x, at)
    const token = Math.floor(at / (nHeads * dHead))
    return Math.floor(at / dHead) % nHeads === headIndex ? change(x, token * dHead + (at % dHead)) : x
  })
}

function latentsOf(backend: Backend, { config, own }: TinySae, x: Tensor<'float32'>): Promise<Tensor<'float32'>> {
  const graph = encoderGraph(config)
  const weights = Object.fromEntries(Object.keys(graph.parameters).map((name) => [name, own[name]!]))
  return runOnce(backend, graph, { inputs: { x }, weights }).then((values) => Object.values(values)[0] as Tensor<'float32'>)
}

function decoderGraph(config: SaeConfig) {
  const b = new GraphBuilder('decoder')
  const site = { prefix: '', axes: ['batch', 'dModel'] } as const
  const from = encoderInput(b, b.input('x', 'float32', ['n', config.dIn]), config, site)
  return b.build([decode(b, b.input('latents', 'float32', ['n', config.dSae]), from, config, site)])
}

/** Tokens as rows, `[n, width]`; of one head where the SAE reads one. */
function rowsOf({ data, shape }: Tensor, width: number, head?: number): Tensor<'float32'> {
  const all = data as Float32Array
  if (head === undefined) return float32([all.length / width, width], all)
  const nHeads = shape[2]!
  const own = all.filter((_, at) => Math.floor(at / width) % nHeads === head)
  return float32([own.length / width, width], own)
}

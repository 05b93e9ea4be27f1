import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Backend } from '../../../src/engine/backends/backend.js'
import { expose, replace } from '../../../src/engine/graph/edit.js'
import { inferTypes } from '../../../src/engine/graph/infer.js'
import { validate } from '../../../src/engine/graph/validate.js'
import { hookPointsOf } from '../../../src/engine/hook-points.js'
import { loadModel } from '../../../src/engine/models/load.js'
import { scalar, type Tensor } from '../../../src/engine/tensor.js'
import { backends, expectedOf, fixtureNames, folderOf, optionalOf, relativeDifference, run, towersOf } from './fixtures.js'

const models = await Promise.all(
  fixtureNames.map(async (name) => ({ name, model: await loadModel(folderOf(name)), expected: await expectedOf(name) })),
)

const towers = models.flatMap(({ name, model, expected }) =>
  towersOf(model).map(([towerName, tower]) => {
    const key = towerName === 'vision' ? 'pixels' : 'tokens'
    return {
      title: `${name} ${towerName}`,
      tower,
      inputs: { [key]: expected.get(`${towerName}/${key}`)! } as Record<string, Tensor>,
      config: model.description[towerName]!.config,
      optional: optionalOf(model, towerName),
    }
  }),
)

type Case = (typeof towers)[number]

/** Every kind of part between them; hundreds of edited graphs are run for each. */
const edited = new Set([
  'hf-clip vision',
  'hf-clip text',
  'hf-dinov2-classifier vision',
  'open-clip-custom text',
  'timm-average vision',
  'vit-prisma-attn-only vision',
  'vit-prisma-solu vision',
])
/** ONNX Runtime compiles every edited graph. */
const compiled = new Set(['hf-clip text', 'hf-dinov2-classifier vision', 'vit-prisma-solu vision'])
const cases = backends.flatMap(([backendName, backend]) =>
  towers
    .filter(({ title }) => (backendName === 'reference' ? edited : compiled).has(title))
    .map((item) => ({ ...item, backendName, backend })),
)

const output = async (backend: Backend, { tower, inputs }: Case, graph = tower.buildGraph(new Set())) => {
  const name = graph.outputs[0]!
  return (await run(backend, graph, { inputs, weights: tower.weights, fetch: [name] }))[name]!
}

describe.each(towers)('the graph of $title', ({ tower, config, optional }) => {
  const asked = [
    new Set<string>(),
    optional,
    ...[...optional].filter((name) => !name.startsWith('blocks.0')).map((name) => new Set([name])),
  ]

  test('has exactly the hook points of the table, in its order, with its axes and shapes', () => {
    for (const wanted of asked) {
      const graph = tower.buildGraph(wanted)
      const types = validate(graph)
      const infos = hookPointsOf(config, wanted).filter(({ name, optional }) => !optional || wanted.has(name))
      expect(graph.hookPoints.map(({ name, axes }) => ({ name, axes }))).toEqual(infos.map(({ name, axes }) => ({ name, axes })))
      expect(infos.map(({ name }) => types.get(name)!.shape)).toEqual(infos.map(({ shape }) => shape))
    }
  })

  test('has the same parameters whatever is asked for, those that were loaded', () => {
    for (const wanted of asked) {
      const { parameters } = tower.buildGraph(wanted)
      expect(Object.entries(parameters).map(([name, { shape }]) => [name, shape])).toEqual(
        Object.keys(parameters).map((name) => [name, tower.weights[name]?.shape]),
      )
      expect(Object.keys(parameters).sort()).toEqual(Object.keys(tower.weights).sort())
    }
  })
})

describe.each(cases)('$title on $backendName', (item) => {
  const { tower, inputs, backend, optional } = item
  const names = tower.buildGraph(new Set()).hookPoints.map(({ name }) => name)

  test('exposing any hook points changes no bit of the output', async () => {
    const before = await output(backend, item)
    await fc.assert(
      fc.asyncProperty(fc.subarray(names), async (exposed) => {
        expect(await output(backend, item, expose(tower.buildGraph(new Set()), exposed))).toEqual(before)
      }),
      { numRuns: backend.name === 'reference' ? 2 : 4, examples: [[names]] },
    )
  })

  const replacedByItself = (replaced: readonly string[]) =>
    replaced.reduce(
      (edited, name) => replace(edited, name, ({ builder, value }) => builder.op('Identity', [value])),
      tower.buildGraph(new Set()),
    )
  const isScale = (name: string) => name.endsWith('.hook_scale')

  test('replacing hook points by themselves changes no bit of the output', async () => {
    const before = await output(backend, item)
    expect(await output(backend, item, replacedByItself(names.filter((name) => !isScale(name))))).toEqual(before)
  })

  test('replacing the scale of a LayerNorm by itself changes nothing but rounding: the operator is written out', async () => {
    const before = await output(backend, item)
    expect(relativeDifference(await output(backend, item, replacedByItself(names.filter(isScale))), before)).toBeLessThan(2e-6)
  })

  test('optional hook points change nothing but rounding', async () => {
    const before = await output(backend, item)
    const after = await output(backend, item, tower.buildGraph(optional))
    expect(relativeDifference(after, before)).toBeLessThan(1e-5)
  })

  test('zeroing any hook point, optional ones too, changes the output', async () => {
    const all = tower.buildGraph(optional)
    const before = await output(backend, item, all)
    const unchanged: string[] = []
    for (const { name } of all.hookPoints) {
      const zeroed = replace(all, name, ({ builder, value }) => builder.op('Mul', [value, builder.constant(scalar(0))]))
      if (relativeDifference(await output(backend, item, zeroed), before) < 1e-4) unchanged.push(name)
    }
    expect(unchanged).toEqual([])
  })

  test('a batch of two is two runs', async () => {
    const [key, batch] = Object.entries(inputs)[0]!
    const length = batch.data.length / batch.shape[0]!
    const whole = await output(backend, item)
    const rowLength = whole.data.length / whole.shape[0]!
    for (let row = 0; row < batch.shape[0]!; row++) {
      const one = { ...batch, shape: [1, ...batch.shape.slice(1)], data: batch.data.slice(row * length, (row + 1) * length) } as Tensor
      const alone = await output(backend, { ...item, inputs: { [key]: one } })
      const expected = { ...whole, shape: alone.shape, data: whole.data.slice(row * rowLength, (row + 1) * rowLength) } as Tensor
      expect(relativeDifference(alone, expected)).toBeLessThan(2e-6)
    }
  })
})

describe.each(backends)('neighbouring hook points on %s', (_, backend) => {
  const { tower, inputs } = towers.find(({ title }) => title === 'hf-vit vision')!
  const read = async (edited: string, hook: string) => {
    const graph = replace(tower.buildGraph(new Set()), edited, ({ builder, value }) =>
      builder.op('Mul', [value, builder.constant(scalar(0))]),
    )
    return (await run(backend, expose(graph, [hook]), { inputs, weights: tower.weights, fetch: [hook] }))[hook]!
  }
  const isZero = (tensor: Tensor) => tensor.data.every((value) => Number(value) === 0)

  test('an edit of resid_post reaches the next resid_pre, and not the other way round', async () => {
    expect(isZero(await read('blocks.0.hook_resid_post', 'blocks.1.hook_resid_pre'))).toBe(true)
    expect(isZero(await read('blocks.1.hook_resid_pre', 'blocks.0.hook_resid_post'))).toBe(false)
  })

  test('an edit of mlp_in leaves resid_mid alone', async () => {
    const graph = tower.buildGraph(new Set(['blocks.0.hook_mlp_in']))
    const edited = replace(graph, 'blocks.0.hook_mlp_in', ({ builder, value }) => builder.op('Mul', [value, builder.constant(scalar(0))]))
    const fetch = ['blocks.0.hook_resid_mid', 'blocks.0.hook_mlp_in', 'blocks.0.ln2.hook_normalized']
    const before = await run(backend, expose(graph, fetch), { inputs, weights: tower.weights, fetch })
    const after = await run(backend, expose(edited, fetch), { inputs, weights: tower.weights, fetch })
    expect(after[fetch[0]!]).toEqual(before[fetch[0]!])
    expect(isZero(after[fetch[1]!]!)).toBe(true)
    expect(relativeDifference(after[fetch[2]!]!, before[fetch[2]!]!)).toBeGreaterThan(0.1)
  })

  test('with split inputs, an edit of LayerNorm 1 applies to queries, keys and values, and a read returns that of the values', async () => {
    const graph = tower.buildGraph(new Set(['blocks.0.hook_q_input', 'blocks.0.hook_v_input']))
    const queriesOnly = replace(graph, 'blocks.0.hook_q_input', ({ builder, value }) =>
      builder.op('Mul', [value, builder.constant(scalar(0))]),
    )
    const ln1 = 'blocks.0.ln1.hook_normalized'
    const fetch = [ln1, 'blocks.0.attn.hook_q', 'blocks.0.attn.hook_k', 'blocks.0.attn.hook_v']
    const runs = async (edited: typeof graph) => run(backend, expose(edited, fetch), { inputs, weights: tower.weights, fetch })
    const plain = await runs(graph)
    const afterQueries = await runs(queriesOnly)
    expect(afterQueries[ln1]).toEqual(plain[ln1])
    expect(relativeDifference(afterQueries[fetch[1]!]!, plain[fetch[1]!]!)).toBeGreaterThan(0.01)
    const zeroed = replace(graph, ln1, ({ builder, value }) => builder.op('Mul', [value, builder.constant(scalar(0))]))
    const afterNorm = await runs(zeroed)
    for (const name of fetch.slice(1)) {
      const type = inferTypes(graph).get(name)!
      expect(type.shape).toHaveLength(4)
      // Nothing but the bias is left, the same at every position.
      const { data, shape } = afterNorm[name]!
      const row = shape[2]! * shape[3]!
      expect(Array.from(data.slice(0, row), Number)).toEqual(Array.from(data.slice(row, 2 * row), Number))
    }
  })
})

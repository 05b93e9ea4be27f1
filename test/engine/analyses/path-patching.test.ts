import { describe, expect, test } from 'vitest'
import type { Reader, Writer } from '../../../src/engine/analyses/patching/components.js'
import { patching } from '../../../src/engine/analyses/patching/patching.js'
import { type PathPatchingInput, pathPatching } from '../../../src/engine/analyses/patching/path-patching.js'
import type { Workbench } from '../../../src/engine/analyses/workbench.js'
import { onnxruntime, reference } from '../each-backend.js'
import { randomVector, visionTower } from '../interventions/tiny-towers.js'
import { pixels, tinyBench } from './tiny-bench.js'

const tower = visionTower()
const pairs = {
  clean: pixels(tower, [1, 2]),
  corrupted: pixels(tower, [3, 4]),
  direction: 'denoise',
  source: { kind: 'other' },
  metric: { kind: 'score', target: { label: 'a direction', direction: randomVector(5, 7) } },
} as const
const sender: Writer = { kind: 'head', layer: 0, head: 1 }
const output: Reader = { kind: 'output' }

const ask = (bench: Workbench, input: Partial<PathPatchingInput>) =>
  pathPatching.run(bench, { ...pairs, senders: [sender], receivers: [output], through: [], ...input })

const close = (actual: ArrayLike<number>, expected: ArrayLike<number>) => {
  expect(actual.length).toBe(expected.length)
  for (const [at, value] of Array.from(expected).entries()) expect(actual[at]).toBeCloseTo(value, 4)
}

describe.each([reference, onnxruntime])('a patched path on %s', (backend) => {
  test('over all paths is the patched head', async () => {
    const { bench, close: end } = await tinyBench(await backend.create(), { tower })
    const grid = await patching.run(bench, { ...pairs, grid: { over: 'heads' }, methods: ['patching'] })
    const senders: Writer[] = [0, 1].flatMap((layer) => [0, 1].map((head): Writer => ({ kind: 'head', layer, head })))
    const paths = await ask(bench, { senders, through: 'all' })
    expect(paths.senders).toEqual(['L0H0', 'L0H1', 'L1H0', 'L1H1'])
    close(paths.values.data, grid.values.patching!.data)
    // and all of them by name
    const between: Writer[] = [
      { kind: 'mlp', layer: 0 },
      { kind: 'attn', layer: 1 },
      { kind: 'mlp', layer: 1 },
    ]
    close((await ask(bench, { through: between })).values.data, (await ask(bench, { through: 'all' })).values.data)
    await end()
  })

  test('from what enters the first block, over all paths, is the other run', async () => {
    const { bench, close: end } = await tinyBench(await backend.create(), { tower })
    const paths = await ask(bench, { senders: [{ kind: 'embed' }], through: 'all' })
    close(paths.values.data, paths.clean.data)
    await end()
  })

  test('changes nothing when both runs are one', async () => {
    const { bench, close: end } = await tinyBench(await backend.create(), { tower })
    const receivers: Reader[] = [{ kind: 'head', layer: 1, head: 0, inputs: ['q'] }, { kind: 'mlp', layer: 1 }, output]
    const paths = await ask(bench, { receivers, corrupted: pairs.clean })
    expect(paths.receivers).toEqual(['L1H0.q', 'mlp 1', 'output'])
    close(
      paths.values.data,
      [0, 1].flatMap((pair) => receivers.map(() => paths.clean.data[pair]!)),
    )
    await end()
  })
})

describe('ends of a path that are not there', () => {
  test('are all named at once', async () => {
    const { bench, close: end } = await tinyBench(await reference.create())
    const refusal = ask(bench, {
      senders: [{ kind: 'head', layer: 1, head: 7 }],
      receivers: [
        { kind: 'head', layer: 9, head: 0, inputs: [] },
        { kind: 'attn', layer: 1, inputs: ['q'] },
      ],
    })
    await expect(refusal).rejects.toMatchObject({
      code: 'INPUT_INVALID',
      problems: [
        { path: 'senders[0]', message: 'head 7 is out of range; this model has 0 to 1' },
        { path: 'receivers[0]', message: 'layer 9 is out of range; this model has 0 to 1' },
        { path: 'receivers[0]', message: '"inputs" is empty; name q, k or v' },
        { path: 'receivers[1]', message: 'attn 1.q does not come after L1H7 (senders[0]), so no path leads to it' },
      ],
    })
    await end()
  })
})

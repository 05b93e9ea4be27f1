/**
 * Real weights: what feature attribution says of features in the middle of the model is what happens without them. Each of the most important features at
 * a position is ablated there, and the change of the score compared with the feature's attribution. The same of attributions dealt out at random
 * must not pass.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { numbersOfAttribution } from '../../../src/engine/analyses/attribution/feature-attribution/feature-attribution.js'
import { createEngineHost } from '../../../src/engine/host/engine-host.js'
import type { EngineHost } from '../../../src/engine/host/host.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'
import { labelEmbeddings, zeroShotScores } from '../../../src/engine/models/zero-shot.js'
import { createRandom } from '../../../src/engine/random.js'
import { stackPictures } from '../../../src/operations/drawn/stack-pictures.js'
import { type DemoPicture, demoModel, demoPictures, demoSae } from './demo-pictures.js'

const sae = demoSae('emoji-clip.3-resid-post.topk-16-x8-all')
const hookPoint = 'blocks.3.hook_resid_post'
const texts = ['red apple', 'flag', 'heart', 'clock face', 'grinning face'] as const
const N_FEATURES = 12

interface Effect {
  readonly attribution: number
  /** The score minus that without the feature. */
  readonly change: number
}

let host: EngineHost
/** Of several pictures and texts together. */
let effects: Effect[]

beforeAll(async () => {
  host = await createEngineHost({ devices: ['cpu'], memoryBytes: 512 * 2 ** 20, intraOpThreads: 1 })
  const pictures = (await demoPictures(host, 60)).slice(0, texts.length)
  const { output } = await host.run({ model: demoModel, inputs: { kind: 'text', texts: [...texts] }, read: [], edits: [] })
  const labels = labelEmbeddings(output, texts.length)
  const width = labels.shape[1]!
  effects = []
  for (const [at, picture] of pictures.entries()) {
    const direction = labels.data.slice(at * width, (at + 1) * width)
    effects.push(...(await effectsOf(picture, { label: texts[at]!, direction })))
  }
}, 120_000)
afterAll(() => host.close())

async function effectsOf({ pixels }: DemoPicture, target: { label: string; direction: Float32Array }): Promise<Effect[]> {
  const description = await host.inspect(demoModel)
  const { logitScale } = description as { logitScale: number }
  const config = description.vision.config as VisionConfig
  const saeConfig = (await host.inspectSae(sae)).config
  const found = await host.analyse('featureAttribution', {
    model: demoModel,
    saes: [sae],
    input: {
      pixels: stackPictures([pixels]),
      target,
      freeze: { attention: false, norms: false },
      heads: false,
      nodes: { most: 200, share: 1 },
      edges: { most: 1, share: 1 },
      numbers: numbersOfAttribution(config, { saes: [saeConfig], most: 200, heads: false }),
    },
  })
  const score = async (ablated?: { index: number; position: number }) => {
    const edit =
      ablated &&
      ({ op: 'feature-ablate', hookPoint, sae: 0, positions: [ablated.position], features: [{ feature: ablated.index }] } as const)
    const { output } = await host.run({
      model: demoModel,
      inputs: { kind: 'pictures', pictures: [pixels] },
      read: [],
      edits: edit ? [edit] : [],
      editSaes: edit ? [sae] : [],
    })
    const text = { dtype: 'float32', shape: [1, target.direction.length], data: target.direction } as const
    return zeroShotScores(output, text, { logitScale }).logits.data[0]!
  }
  const whole = await score()
  expect(found.value).toBeCloseTo(whole, 3)
  const features = found.nodes
    .filter(({ kind }) => kind === 'feature')
    .toSorted((a, b) => Math.abs(b.attribution) - Math.abs(a.attribution))
    .slice(0, N_FEATURES)
  const effect = async ({ attribution, index, position }: (typeof features)[number]): Promise<Effect> => {
    return { attribution, change: whole - (await score({ index: index!, position })) }
  }
  return Promise.all(features.map(effect))
}

function correlation(x: readonly number[], y: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length
  const [mx, my] = [mean(x), mean(y)]
  const product = (a: readonly number[], b: readonly number[], ma: number, mb: number) =>
    a.reduce((sum, value, at) => sum + (value - ma) * (b[at]! - mb), 0)
  return product(x, y, mx, my) / Math.sqrt(product(x, x, mx, mx) * product(y, y, my, my))
}

describe('attributions of features of the demo', () => {
  test('say how the score changes without them, and in which direction', () => {
    const [attributions, changes] = [effects.map((each) => each.attribution), effects.map((each) => each.change)]
    expect(effects).toHaveLength(texts.length * N_FEATURES)
    expect(correlation(attributions, changes)).toBeGreaterThan(0.8)
    const agreeing = effects.filter(({ attribution, change }) => attribution * change > 0)
    expect(agreeing.length / effects.length).toBeGreaterThan(0.9)
  })

  test('do not when they are dealt out at random', () => {
    const random = createRandom(5)
    const dealt = effects.map(({ attribution }) => ({ attribution, key: random.uniform() })).toSorted((a, b) => a.key - b.key)
    const mixed = correlation(
      dealt.map(({ attribution }) => attribution),
      effects.map(({ change }) => change),
    )
    expect(Math.abs(mixed)).toBeLessThan(0.4)
  })
})

/**
 * Real weights: a feature that the index says stands for a class (it is active on pictures of the class, and of those its decoder is nearest to the
 * class' name) is added to pictures of other things, as strongly as it ever was active. The score of the name goes up, and by more than random directions of
 * equal length bring about. The same is asked of features drawn at random, which must not pass.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEngineHost } from '../../../src/engine/host/engine-host.js'
import type { EngineHost } from '../../../src/engine/host/host.js'
import { labelEmbeddings } from '../../../src/engine/models/zero-shot.js'
import { createRandom } from '../../../src/engine/random.js'
import { float32, type Tensor } from '../../../src/engine/tensor.js'
import { stackPictures } from '../../../src/operations/drawn/stack-pictures.js'
import { type DemoPicture, demoModel, demoPictures, demoSae } from './demo-pictures.js'

const sae = demoSae('emoji-clip.4-resid-post.topk-16-x8-all')
const hookPoint = 'blocks.4.hook_resid_post'
const WIDTH = 1024
const N_CONTROLS = 16
const N_PICTURES = 6

const classes = {
  'country-flag': 'flag',
  time: 'clock',
  heart: 'heart',
  'food-fruit': 'fruit',
  arrow: 'arrow',
  keycap: 'keycap',
  'face-smiling': 'face',
  geometric: 'square',
} as const
type Label = keyof typeof classes
const labels = Object.keys(classes) as Label[]

interface Effect {
  /** By how much the score rises, on average over the pictures. */
  readonly rise: number
  /** Which part of the random directions makes it rise less, on average. */
  readonly share: number
}

/** What is asked of a feature. */
const standsForIt = ({ rise, share }: Effect) => rise > 0.1 && share >= 0.85

let host: EngineHost
let pictures: DemoPicture[]
/** `[picture, feature]`: the largest over the tokens. */
let active: Float32Array
/** `[class, dEmbed]` */
let texts: Tensor<'float32'>
const found = new Map<Label, Effect>()
const drawn: Effect[] = []

beforeAll(async () => {
  host = await createEngineHost({ devices: ['cpu'], memoryBytes: 512 * 2 ** 20, intraOpThreads: 1 })
  pictures = await demoPictures(host, 4)
  active = await activations()
  const inputs = { kind: 'text', texts: Object.values(classes) } as const
  const { output } = await host.run({ model: demoModel, inputs, read: [], edits: [] })
  texts = labelEmbeddings(output, labels.length)
  const random = createRandom(3)
  const alive = Array.from({ length: WIDTH }, (_, feature) => feature).filter((feature) => largest(feature) > 0)
  for (const [index, label] of labels.entries()) {
    found.set(label, await effectOf(await featureFor(label, index), { label, index }))
    for (let n = 0; n < 2; n++) drawn.push(await effectOf(alive[Math.floor(random.uniform() * alive.length)]!, { label, index }))
  }
}, 120_000)
afterAll(() => host.close())

describe('a feature that stands for a class', () => {
  test.each(labels)('makes pictures of other things more like %s, and more so than random directions', (label) => {
    expect(found.get(label)).toSatisfy(standsForIt)
  })

  test('is not one that was drawn at random', () => {
    expect(drawn.filter(standsForIt).length).toBeLessThanOrEqual(drawn.length / 4)
    const mean = (effects: readonly Effect[], key: keyof Effect) => effects.reduce((sum, effect) => sum + effect[key], 0) / effects.length
    expect(mean([...found.values()], 'share')).toBeGreaterThan(0.95)
    expect(mean(drawn, 'share')).toBeLessThan(0.7)
    expect(mean([...found.values()], 'rise')).toBeGreaterThan(4 * Math.abs(mean(drawn, 'rise')))
  })
})

async function activations(): Promise<Float32Array> {
  const inputs = { kind: 'pictures', pictures: pictures.map(({ pixels }) => pixels) } as const
  const { codes } = await host.codes({ model: demoModel, inputs, edits: [], saes: [{ sae, topK: 0, imageTopK: WIDTH }] })
  const { activations: values, latents } = codes[0]!.images!
  const dense = new Float32Array(values.data.length)
  for (const [at, latent] of latents.data.entries()) dense[Math.floor(at / WIDTH) * WIDTH + latent] = values.data[at]!
  return dense
}

const largest = (feature: number) => pictures.reduce((most, _, picture) => Math.max(most, active[picture * WIDTH + feature]!), 0)

/** Three times as active on the class as elsewhere, and of those the one whose decoder is nearest to its name. */
async function featureFor(label: Label, index: number): Promise<number> {
  const { data: cosines } = await host.decoderCosines({ model: demoModel, sae, embeddings: rowOf(texts, index) })
  const mean = (feature: number, isIn: boolean) => {
    const values = pictures.flatMap((picture, at) => ((picture.label === label) === isIn ? [active[at * WIDTH + feature]!] : []))
    return values.reduce((sum, value) => sum + value, 0) / values.length
  }
  const candidates = Array.from({ length: WIDTH }, (_, feature) => feature).filter((feature) => {
    const own = mean(feature, true)
    return own > 0.05 && own > 3 * mean(feature, false)
  })
  return candidates.reduce((best, feature) => (cosines[feature]! > cosines[best]! ? feature : best))
}

async function effectOf(feature: number, { label, index }: { label: Label; index: number }): Promise<Effect> {
  const others = pictures.filter((picture) => picture.label !== label)
  const some = Array.from({ length: N_PICTURES }, (_, at) => others[Math.floor((at * others.length) / N_PICTURES)]!.pixels)
  const { controls } = await host.analyse('steer', {
    model: demoModel,
    saes: [sae],
    input: {
      pixels: stackPictures(some),
      edits: [{ hookPoint, op: 'feature-add', sae: 0, features: [{ feature, strength: largest(feature) }] }],
      targets: [{ label, direction: rowOf(texts, index).data }],
      controls: { n: N_CONTROLS, seed: 1 },
      ...{ read: [], withValues: false, readBytes: 0 },
    },
  })
  const effects = [...controls!.effect.data]
  const shares = effects.map((effect, picture) => {
    return (
      controls!.controls.data.slice(picture * N_CONTROLS, (picture + 1) * N_CONTROLS).filter((control) => control < effect).length /
      N_CONTROLS
    )
  })
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  return { rise: mean(effects), share: mean(shares) }
}

function rowOf({ data, shape }: Tensor<'float32'>, row: number): Tensor<'float32'> {
  const width = shape[1]!
  return float32([1, width], data.slice(row * width, (row + 1) * width))
}

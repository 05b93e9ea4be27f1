import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAugmenter } from '../../../src/engine/image/augment.js'
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation, toGrayscale } from '../../../src/engine/image/augment-color.js'
import { backgroundKinds, readAugmentation } from '../../../src/engine/image/augment-config.js'
import { addNoise, blur } from '../../../src/engine/image/augment-disturb.js'
import { composed, flipped, fromRectangle, inverseAffine } from '../../../src/engine/image/augment-geometry.js'
import { createPlanes, type Planes } from '../../../src/engine/image/augment-planes.js'
import { warp } from '../../../src/engine/image/augment-warp.js'
import type { Pixels } from '../../../src/engine/image/pixels.js'
import { normalize } from '../../../src/engine/image/preprocess.js'
import type { Preprocessing } from '../../../src/engine/image/preprocessing.js'
import { createRandom } from '../../../src/engine/random.js'
import { noise, sha256 } from './golden.js'

interface Golden {
  readonly width: number
  readonly height: number
  readonly seed: number
  readonly colors: readonly { readonly name: keyof typeof adjustments; readonly value: number; readonly expected: readonly number[][] }[]
  readonly blurs: readonly { readonly sigma: number; readonly expected: readonly number[][] }[]
  readonly affines: readonly {
    readonly rotate: number
    readonly translate: readonly [number, number]
    readonly scale: number
    readonly shear: number
    readonly fill: number
    readonly expected: readonly number[][]
  }[]
}

const adjustments = {
  brightness: adjustBrightness,
  contrast: adjustContrast,
  saturation: adjustSaturation,
  hue: adjustHue,
  grayscale: (planes: Planes) => toGrayscale(planes),
}
const golden = JSON.parse(fs.readFileSync(path.join(import.meta.dirname, '../../fixtures/augment/expected.json'), 'utf8')) as Golden
const { width, height } = golden
const picture: Pixels = { width, height, channels: 3, data: noise(width * height * 3, golden.seed) }
const identity = fromRectangle({ left: 0, top: 0, width, height }, picture)
const asDrawn = { dropAlpha: false, outside: 'background' } as const

function planesOf(source: Pixels): Planes {
  const planes = createPlanes(source.width, source.height, 3)
  warp(source, fromRectangle({ left: 0, top: 0, width: source.width, height: source.height }, source), planes, asDrawn)
  return planes
}

/** Half a level of 255, and the rounding of the golden. */
const CLOSE = 0.0021

function expectClose(actual: Planes, expected: readonly (readonly number[])[], tolerance = CLOSE) {
  actual.colors.forEach((plane, color) => {
    plane.forEach((value, at) => {
      expect(Math.abs(value - expected[color]![at]!), `color ${color}, pixel ${at}: ${value}, not ${expected[color]![at]}`).toBeLessThan(
        tolerance,
      )
    })
  })
}

describe('formulas are those of torchvision', () => {
  test.each(golden.colors)('$name $value', ({ name, value, expected }) => {
    const planes = planesOf(picture)
    adjustments[name](planes, value)
    expectClose(planes, expected)
  })

  test.each(golden.blurs)('gaussian blur of sigma $sigma', ({ sigma, expected }) => {
    const planes = planesOf(picture)
    blur(planes, sigma)
    expectClose(planes, expected)
  })

  test.each(golden.affines)('rotate $rotate, translate $translate, scale $scale, shear $shear over $fill', (how) => {
    const planes = createPlanes(width, height, 3)
    for (const plane of planes.colors) plane.fill(how.fill)
    warp(picture, inverseAffine({ ...how, aspect: 1 }, picture), planes, asDrawn)
    expectClose(planes, how.expected)
  })
})

describe('the map', () => {
  const angle = fc.double({ min: -180, max: 180, noNaN: true })
  test('flipped twice is the identity, and a turn there and back', () => {
    expect(composed(flipped(picture), flipped(picture))).toEqual({ xx: 1, xy: 0, x0: 0, yx: 0, yy: 1, y0: 0 })
    fc.assert(
      fc.property(angle, (rotate) => {
        const turn = (degrees: number) => inverseAffine({ rotate: degrees, translate: [0, 0], scale: 1, aspect: 1, shear: 0 }, picture)
        const map = composed(turn(rotate), turn(-rotate))
        expect(Object.values(map).map((value) => Math.round(value * 1e9) / 1e9 + 0)).toEqual([1, 0, 0, 0, 1, 0])
      }),
    )
  })

  test('of one quarter turn moves whole pixels', () => {
    const square: Pixels = { width: 6, height: 6, channels: 3, data: noise(108, 1) }
    const planes = createPlanes(6, 6, 3)
    warp(square, inverseAffine({ rotate: 90, translate: [0, 0], scale: 1, aspect: 1, shear: 0 }, square), planes, asDrawn)
    for (let row = 0; row < 6; row++) {
      for (let column = 0; column < 6; column++) {
        // clockwise: what was at the left is at the top
        expect(planes.colors[0]![row * 6 + column]).toBeCloseTo(square.data[((5 - column) * 6 + row) * 3]! / 255, 5)
      }
    }
  })

  test('a stretch makes what was square as wide as it says', () => {
    const map = inverseAffine({ rotate: 0, translate: [0, 0], scale: 1, aspect: 4, shear: 0 }, picture)
    expect([map.xx, map.yy]).toEqual([0.5, 2])
  })

  test('L and RGB of equal bands are sampled alike, with and without alpha, inside and at the border', () => {
    const grey = noise(width * height, 3)
    const alpha = noise(width * height, 4)
    const bands = (nColors: number, hasAlpha: boolean): Pixels => {
      const channels = nColors + (hasAlpha ? 1 : 0)
      const data = Uint8Array.from({ length: width * height * channels }, (_, at) => {
        const pixel = Math.floor(at / channels)
        return at % channels < nColors ? grey[pixel]! : alpha[pixel]!
      })
      return { width, height, channels, data }
    }
    const map = inverseAffine({ rotate: 25, translate: [3, 1], scale: 0.7, aspect: 1.2, shear: 9 }, picture)
    for (const hasAlpha of [true, false]) {
      for (const outside of ['background', 'edge'] as const) {
        const [one, three] = [createPlanes(width, height, 1), createPlanes(width, height, 3)]
        for (const plane of [...one.colors, ...three.colors]) plane.fill(0.3)
        warp(bands(1, hasAlpha), map, one, { dropAlpha: false, outside })
        warp(bands(3, hasAlpha), map, three, { dropAlpha: false, outside })
        expectClose(
          three,
          [0, 1, 2].map(() => Array.from(one.colors[0]!)),
          1e-6,
        )
      }
    }
  })

  test('beyond the border the edge goes on, if asked to', () => {
    const planes = createPlanes(width, height, 3)
    for (const plane of planes.colors) plane.fill(7)
    warp(picture, { ...identity, x0: -1000 }, planes, { dropAlpha: false, outside: 'edge' })
    for (let row = 0; row < height; row++) {
      expect(planes.colors[0]!.slice(row * width, (row + 1) * width)).toEqual(
        new Float32Array(width).fill(Math.fround(picture.data[row * width * 3]! / 255)),
      )
    }
  })
})

const how: Preprocessing = {
  resize: { kind: 'exact', width, height },
  resample: 'bicubic',
  crop: null,
  rescale: 1 / 255,
  mean: [0.48, 0.45, 0.4],
  std: [0.26, 0.25, 0.27],
  mode: 'RGB',
}

function augmented(config: unknown, seed = 0, source: Pixels = picture, preprocessing = how): Float32Array {
  const augmenter = createAugmenter({
    augmentation: readAugmentation(config),
    how: preprocessing,
    output: { width, height },
    isFitted: false,
  })
  const target = new Float32Array((preprocessing.mode === 'L' ? 1 : 3) * width * height)
  augmenter(source, createRandom(seed), target, 0)
  return target
}

const everything = {
  background: { gradient: 1, solid: 1, white: 1, black: 1, dropAlpha: 1 },
  resizedCrop: { scale: [0.5, 1] },
  affine: { rotate: [-30, 30], translate: [0.1, 0.1], scale: [0.8, 1.2], aspect: [0.8, 1.25], shear: [-5, 5] },
  flip: {},
  colorJitter: { brightness: [0.6, 1.4], contrast: [0.6, 1.4], saturation: [0.5, 1.5], hue: [-0.1, 0.1] },
  channelShuffle: { probability: 0.3 },
  grayscale: { probability: 0.3 },
  blur: {},
  noise: {},
  erase: { fill: 'noise' },
}

const rgba: Pixels = { width, height, channels: 4, data: noise(width * height * 4, 9) }

describe('an augmented picture', () => {
  test('to which nothing happens is what the model sees, bit for bit', () => {
    expect(augmented({})).toEqual(normalize(picture, how).data)
    const never = { flip: { probability: 0 }, blur: { probability: 0 }, erase: { probability: 0 }, affine: {}, colorJitter: {} }
    expect(augmented(never)).toEqual(normalize(picture, how).data)
  })

  test('whose alpha is dropped is what a server that drops it sees', () => {
    const rgb = Uint8Array.from(rgba.data).filter((_, at) => at % 4 < 3)
    expect(augmented({ background: { dropAlpha: 1 } }, 0, rgba)).toEqual(normalize({ ...picture, data: rgb }, how).data)
  })

  test('is the same from the same random numbers, and another from others', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e6 }), (seed) => {
        const once = augmented(everything, seed, rgba)
        expect(sha256(augmented(everything, seed, rgba))).toBe(sha256(once))
        expect(sha256(augmented(everything, seed + 1, rgba))).not.toBe(sha256(once))
      }),
      { numRuns: 30 },
    )
  })

  test('stays between black and white, whatever is drawn', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1e6 }), (seed) => {
        const plane = width * height
        const shown = augmented(everything, seed, rgba).map((value, at) => {
          const color = Math.floor(at / plane)
          return value * how.std[color]! + how.mean[color]!
        })
        expect(Math.min(...shown)).toBeGreaterThan(-1e-5)
        expect(Math.max(...shown)).toBeLessThan(1 + 1e-5)
      }),
      { numRuns: 100 },
    )
  })

  test('of which only left and right are exchanged has all of its rows mirrored', () => {
    const mirrored = augmented({ flip: { probability: 1 } })
    const plain = normalize(picture, how).data
    for (let at = 0; at < plain.length; at++) {
      const [row, column] = [Math.floor(at / width), at % width]
      expect(mirrored[at]).toBeCloseTo(plain[row * width + width - 1 - column]!, 5)
    }
  })

  test.each(backgroundKinds.filter((kind) => kind !== 'dropAlpha'))('shows a background that is %s where it is transparent', (kind) => {
    const clear: Pixels = { ...rgba, data: rgba.data.map((value, at) => (at % 4 === 3 ? 0 : value)) }
    const plane = width * height
    const shown = augmented({ background: { [kind]: 1 } }, 5, clear).map((value, at) => {
      const color = Math.floor(at / plane)
      return value * how.std[color]! + how.mean[color]!
    })
    const distinct = new Set(Array.from(shown.subarray(0, plane), (value) => value.toFixed(4)))
    if (kind === 'black') expect([...distinct].map((text) => Number(text) + 0)).toEqual([0])
    if (kind === 'white') expect([...distinct].map(Number)).toEqual([1])
    if (kind === 'solid') expect(distinct.size).toBe(1)
    if (kind === 'gradient') expect(distinct.size).toBeGreaterThan(plane / 4)
  })

  test('is drawn with the frequencies that the weights say', () => {
    const clear: Pixels = { ...rgba, data: new Uint8Array(rgba.data.length) }
    const isWhite = Array.from({ length: 400 }, (_, seed) => augmented({ background: { white: 3, black: 1 } }, seed, clear)[0]! > 0)
    expect(isWhite.filter(Boolean).length / 400).toBeGreaterThan(0.67)
    expect(isWhite.filter(Boolean).length / 400).toBeLessThan(0.83)
  })

  test('in grayscale has equal bands before the model normalises them', () => {
    const plain = { ...how, mean: [0, 0, 0], std: [1, 1, 1] }
    const shown = augmented({ grayscale: { probability: 1 } }, 0, picture, plain)
    expect(shown.subarray(0, width * height)).toEqual(shown.subarray(width * height, 2 * width * height))
  })

  test('has an erased rectangle of the configured area, at zero after normalization', () => {
    const shown = augmented({ erase: { probability: 1, area: [0.25, 0.25], ratio: [1, 1], fill: 'mean' } }, 3)
    const erased = shown.subarray(0, width * height).filter((value) => Math.abs(value) < 1e-6).length
    expect(erased / (width * height)).toBeGreaterThan(0.18)
    expect(erased / (width * height)).toBeLessThan(0.32)
  })

  test('larger than the output is shown as the model would crop it', () => {
    const large: Pixels = {
      width: 26,
      height: 40,
      channels: 3,
      data: new Uint8Array(26 * 40 * 3).map((_, at) => (Math.floor(at / 78) < 10 ? 255 : 0)),
    }
    const crop: Preprocessing = {
      ...how,
      resize: { kind: 'shortestEdge', size: 13 },
      crop: { width, height },
      mean: [0, 0, 0],
      std: [1, 1, 1],
    }
    // 13 x 20 after the resize; the crop shows its rows 5 to 15, and the white of the first five rows is gone
    expect(Math.max(...augmented({}, 0, large, crop))).toBe(0)
  })

  test('of a model of one channel has one', () => {
    const grey: Pixels = { width, height, channels: 1, data: noise(width * height, 2) }
    const one = { ...how, mode: 'L', mean: [0.5], std: [0.5] } as const
    expect(augmented({}, 0, grey, one)).toEqual(normalize(grey, one).data)
    expect(augmented(everything, 0, grey, one).every(Number.isFinite)).toBe(true)
  })
})

test('noise is normal, of the configured deviation', () => {
  const planes = createPlanes(100, 99, 3)
  for (const plane of planes.colors) plane.fill(0.5)
  addNoise(planes, 0.1, createRandom(1))
  const values = planes.colors.flatMap((plane) => Array.from(plane, (value) => (value - 0.5) / 0.1))
  const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length
  expect(moment(1)).toBeCloseTo(0, 1)
  expect(moment(2)).toBeCloseTo(1, 1)
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.15)
  expect(values.filter((value) => Math.abs(value) < 1.959964).length / values.length).toBeCloseTo(0.95, 2)
})

describe('a configuration', () => {
  const problemsOf = (config: unknown) => {
    try {
      readAugmentation(config)
    } catch (error) {
      return (error as { code: string; problems: { path: string; message: string }[] }).problems
    }
    return []
  }

  test('says everything that is wrong at once, each with its path', () => {
    const problems = problemsOf({
      flipp: {},
      affine: { rotate: [10, -10], scale: [0, 1], translate: [0.1], sheer: [0, 1] },
      colorJitter: { brightness: '1', hue: [-0.6, 0] },
      flip: { probability: 1.5 },
      blur: true,
      erase: { fill: 'men' },
      outside: null,
    })
    expect(problems.map(({ path: where }) => where).sort()).toEqual(
      [
        'augment.affine.rotate',
        'augment.affine.scale',
        'augment.affine.sheer',
        'augment.affine.translate',
        'augment.blur',
        'augment.colorJitter.brightness',
        'augment.colorJitter.hue',
        'augment.erase.fill',
        'augment.flip.probability',
        'augment.flipp',
        'augment.outside',
      ].sort(),
    )
    const messages = problems.map(({ message }) => message).join('\n')
    expect(messages).toContain('unknown field "flipp". Did you mean "flip"?')
    expect(messages).toContain('Did you mean "shear"?')
    expect(messages).toContain('did you mean "mean"?')
  })

  test('of a background needs a kind with a weight', () => {
    expect(problemsOf({ background: {} })).toHaveLength(1)
    expect(
      problemsOf({ background: { gradiant: 1 } })
        .map(({ message }) => message)
        .join(),
    ).toContain('Did you mean "gradient"?')
  })

  test('that is no object is refused', () => expect(problemsOf([])).toHaveLength(1))
})

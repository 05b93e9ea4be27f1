/**
 * What may be done to a picture at random before a model learns from it, as plain data. Each step has a probability and ranges that are
 * drawn from uniformly; a step that is absent is not done. `augment.ts` says in which order.
 */

import { type Interval, StrictFields } from '../strict-fields.js'

/** What shows through transparency, and where a picture was moved away from. Weights need not sum to 1. */
export interface BackgroundStep {
  /**
   * How often which: `dropAlpha` shows a file's colours without their alpha, as servers of models do; `black`, `white`; `solid`, one random
   * colour; `gradient`, from one random colour to another in a random direction.
   */
  readonly weights: Readonly<Record<BackgroundKind, number>>
}

export const backgroundKinds = ['dropAlpha', 'black', 'white', 'solid', 'gradient'] as const
export type BackgroundKind = (typeof backgroundKinds)[number]

interface Step {
  readonly probability: number
}

/** A rectangle of the picture, stretched to the output: of `scale` times its area, `ratio` (drawn on a logarithmic scale) wide for its height. */
export interface ResizedCropStep extends Step {
  readonly scale: Interval
  readonly ratio: Interval
}

export interface AffineStep extends Step {
  /** Degrees, clockwise. */
  readonly rotate: Interval
  /** At most this share of width and height, to either side. */
  readonly translate: readonly number[]
  readonly scale: Interval
  /** Width by height of what was square, on a logarithmic scale. */
  readonly aspect: Interval
  /** Degrees, along x. */
  readonly shear: Interval
}

/** Factors, 1 = unchanged; `hue` in turns, 0 = unchanged. In a random order, as torchvision's ColorJitter. */
export interface ColorJitterStep extends Step {
  readonly brightness: Interval
  readonly contrast: Interval
  readonly saturation: Interval
  readonly hue: Interval
}

/** Gaussian; `sigma` in pixels of the output. */
export interface BlurStep extends Step {
  readonly sigma: Interval
}

/** Gaussian, independent for each number; `deviation` in units of the whole range from black to white. */
export interface NoiseStep extends Step {
  readonly deviation: Interval
}

/** A rectangle is overwritten: by the colour that normalises to zero, by one random colour, or by a random colour for each pixel. */
export interface EraseStep extends Step {
  readonly area: Interval
  readonly ratio: Interval
  readonly fill: 'mean' | 'color' | 'noise'
}

export interface Augmentation {
  readonly background: BackgroundStep | null
  /** What is beyond a picture's border: the background, or the picture's own edge continued. */
  readonly outside: 'background' | 'edge'
  readonly resizedCrop: ResizedCropStep | null
  readonly affine: AffineStep | null
  /** Left and right exchanged. */
  readonly flip: Step | null
  readonly colorJitter: ColorJitterStep | null
  /** Red, green and blue exchanged. */
  readonly channelShuffle: Step | null
  readonly grayscale: Step | null
  readonly blur: BlurStep | null
  readonly noise: NoiseStep | null
  readonly erase: EraseStep | null
}

/** Nothing is done. */
export const noAugmentation: Augmentation = readAugmentation({})

/**
 * @param value  `{ flip: { probability: 0.5 }, affine: { rotate: [-10, 10] }, ... }`; an empty object for a step takes its defaults
 * @throws CONFIG_INVALID with every problem
 */
export function readAugmentation(value: unknown, path = 'augment'): Augmentation {
  const fields = new StrictFields(value, path)
  const augmentation = augmentationOf(fields)
  fields.check()
  return augmentation
}

/** As part of a larger configuration, whose `check` reports the problems. */
export function augmentationOf(fields: StrictFields): Augmentation {
  const step = <T extends Step>(key: string, probability: number, rest: (section: StrictFields) => Omit<T, 'probability'>): T | null => {
    const section = fields.section(key)
    if (section === undefined) return null
    return { probability: section.number('probability', { min: 0, max: 1, fallback: probability }), ...rest(section) } as T
  }
  return {
    background: backgroundOf(fields.section('background')),
    outside: fields.choice('outside', ['background', 'edge'], 'background'),
    resizedCrop: step<ResizedCropStep>('resizedCrop', 1, (section) => ({
      scale: section.interval('scale', { min: 0.001, max: 1, fallback: [0.08, 1] }),
      ratio: section.interval('ratio', { min: 0.01, max: 100, fallback: [3 / 4, 4 / 3] }),
    })),
    affine: step<AffineStep>('affine', 1, (section) => ({
      rotate: section.interval('rotate', { min: -360, max: 360, fallback: [0, 0] }),
      translate: section.numbers('translate', { min: 0, max: 1, length: 2, fallback: [0, 0] }),
      scale: section.interval('scale', { min: 0.01, max: 100, fallback: [1, 1] }),
      aspect: section.interval('aspect', { min: 0.01, max: 100, fallback: [1, 1] }),
      shear: section.interval('shear', { min: -80, max: 80, fallback: [0, 0] }),
    })),
    flip: step<Step>('flip', 0.5, () => ({})),
    colorJitter: step<ColorJitterStep>('colorJitter', 1, (section) => ({
      brightness: section.interval('brightness', { min: 0, max: 10, fallback: [1, 1] }),
      contrast: section.interval('contrast', { min: 0, max: 10, fallback: [1, 1] }),
      saturation: section.interval('saturation', { min: 0, max: 10, fallback: [1, 1] }),
      hue: section.interval('hue', { min: -0.5, max: 0.5, fallback: [0, 0] }),
    })),
    channelShuffle: step<Step>('channelShuffle', 0.1, () => ({})),
    grayscale: step<Step>('grayscale', 0.1, () => ({})),
    blur: step<BlurStep>('blur', 0.5, (section) => ({ sigma: section.interval('sigma', { min: 0, max: 50, fallback: [0.1, 2] }) })),
    noise: step<NoiseStep>('noise', 0.5, (section) => ({
      deviation: section.interval('deviation', { min: 0, max: 1, fallback: [0, 0.05] }),
    })),
    erase: step<EraseStep>('erase', 0.5, (section) => ({
      area: section.interval('area', { min: 0, max: 1, fallback: [0.02, 0.33] }),
      ratio: section.interval('ratio', { min: 0.01, max: 100, fallback: [0.3, 3.3] }),
      fill: section.choice('fill', ['mean', 'color', 'noise'], 'mean'),
    })),
  }
}

function backgroundOf(section: StrictFields | undefined): BackgroundStep | null {
  if (section === undefined) return null
  const entries = backgroundKinds.map((kind) => [kind, section.number(kind, { min: 0, fallback: 0 })] as const)
  if (entries.every(([, weight]) => weight === 0)) section.problem('solid', `one of ${backgroundKinds.join(', ')} needs a weight above 0`)
  return { weights: Object.fromEntries(entries) as Record<BackgroundKind, number> }
}

/**
 * Shapes in the manner of dSprites (Matthey et al., 2017): a white square, ellipse or heart on black, 64 x 64, in every combination of 6
 * scales, 40 orientations and 32 x 32 positions: 737280 pictures. The label is the shape. Factors are counted as there, the position across
 * varying fastest; the outlines are our own.
 */

import type { Pixels } from '../../image/pixels.js'
import { createRandom } from '../../random.js'
import type { Dataset } from '../dataset.js'
import { subset } from '../subsets.js'
import { blank } from './drawing.js'
import { generated } from './generated.js'

export const shapeNames = ['square', 'ellipse', 'heart'] as const
export const shapeGrid = { shape: 3, scale: 6, orientation: 40, positionX: 32, positionY: 32 } as const
const N_SHAPES = 3 * 6 * 40 * 32 * 32

const SIDE = 64
/** Centres go from here to the same distance from the other side: no shape is cut. */
const MARGIN = 16
/** Half the side of the square of scale 1, in pixels. */
const UNIT = 11
const WHITE = 255

/** Whether a point is inside a shape of scale 1, in units of UNIT; x to the right, y up. */
const inside: Readonly<Record<(typeof shapeNames)[number], (x: number, y: number) => boolean>> = {
  square: (x, y) => Math.abs(x) <= 1 && Math.abs(y) <= 1,
  ellipse: (x, y) => (x / 1.25) ** 2 + (y / 0.75) ** 2 <= 1,
  // the sextic (x² + y² - 1)³ = x² y³, moved so that its middle is at the centre
  heart: (x, y) => {
    const [u, v] = [x * 1.05, y * 1.05 + 0.1]
    return (u * u + v * v - 1) ** 3 - u * u * v ** 3 <= 0
  },
}

export interface ShapeFactors {
  /** 0 to 2: square, ellipse, heart. */
  readonly shape: number
  /** 0.5 to 1. */
  readonly scale: number
  /** Radians, counter-clockwise. */
  readonly orientation: number
  /** 0 to 1, to the right and downwards. */
  readonly positionX: number
  readonly positionY: number
}

/** @param sample  so many different pictures of all, drawn by the seed; all without it */
export function shapes({ sample, seed = 0 }: { readonly sample?: number; readonly seed?: number } = {}): Dataset {
  const all = generated({
    name: 'shapes',
    version: 1,
    parameters: {},
    size: N_SHAPES,
    classNames: shapeNames,
    describe: (index) => {
      const { shape, ...factors } = shapeFactors(index)
      return { label: shape, facets: { shape: shapeNames[shape]!, ...factors } }
    },
    draw: (index) => drawShape(shapeFactors(index)),
  })
  if (sample === undefined) return all
  return subset(all, createRandom(seed).fork('shapes').permutation(N_SHAPES).subarray(0, sample), `shapes, ${sample} by seed ${seed}`)
}

export function shapeFactors(index: number): ShapeFactors {
  let rest = index
  const next = (n: number) => {
    const value = rest % n
    rest = Math.floor(rest / n)
    return value
  }
  const positionY = next(shapeGrid.positionY) / (shapeGrid.positionY - 1)
  const positionX = next(shapeGrid.positionX) / (shapeGrid.positionX - 1)
  const orientation = (next(shapeGrid.orientation) / shapeGrid.orientation) * 2 * Math.PI
  const scale = 0.5 + next(shapeGrid.scale) / 10
  return { shape: rest, scale, orientation, positionX, positionY }
}

/** Pixels whose centre is inside are white. */
export function drawShape({ shape, scale, orientation, positionX, positionY }: ShapeFactors): Pixels {
  const picture = blank(SIDE)
  const isInside = inside[shapeNames[shape]!]
  const [centerX, centerY] = [MARGIN + positionX * (SIDE - 2 * MARGIN), MARGIN + positionY * (SIDE - 2 * MARGIN)]
  const [cos, sin] = [Math.cos(orientation) / (UNIT * scale), Math.sin(orientation) / (UNIT * scale)]
  for (let row = 0, at = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++, at++) {
      const [x, y] = [column + 0.5 - centerX, centerY - row - 0.5]
      if (isInside(x * cos + y * sin, y * cos - x * sin)) picture.data[at] = WHITE
    }
  }
  return picture
}

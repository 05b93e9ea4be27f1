/**
 * Addition on a circle, after ViT-Prisma's circle set: 32 x 32 grey, white with a black circle (centre 16, 16, radius 15.5) and two grey
 * points on it, 6 degrees apart or more. The label is the sum of their places modulo 60. Two points look the same in either order, so each
 * pair occurs once: 1830 pictures, and none of a test set is in its training set.
 */

import type { Pixels } from '../../image/pixels.js'
import type { Dataset } from '../dataset.js'
import { blank, set } from './drawing.js'
import { generated } from './generated.js'

const SIDE = 32
const CENTER = 16
const RADIUS = 15.5
const N_PLACES = 60
const WHITE = 255
const BLACK = 0
const GREY = 128

export function circle(): Dataset {
  const pairs: (readonly [number, number])[] = []
  for (let a = 0; a < N_PLACES; a++) for (let b = a; b < N_PLACES; b++) pairs.push([a, b])
  return generated({
    name: 'circle',
    version: 1,
    parameters: {},
    size: pairs.length,
    classNames: Array.from({ length: N_PLACES }, (_, sum) => `${sum}`),
    describe: (index) => {
      const [a, b] = pairs[index]!
      return { label: (a + b) % N_PLACES, facets: { a, b } }
    },
    draw: (index) => drawCircle(pairs[index]!),
  })
}

/** Places count clockwise from the right. */
function drawCircle(places: readonly [number, number]): Pixels {
  const picture = blank(SIDE, WHITE)
  for (let row = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const distance = Math.hypot(row + 0.5 - CENTER, column + 0.5 - CENTER)
      if (Math.abs(distance - RADIUS) <= 0.5) set(picture, row, column, BLACK)
    }
  }
  for (const place of places) {
    const angle = (place / N_PLACES) * 2 * Math.PI
    set(picture, Math.floor(CENTER + RADIUS * Math.sin(angle)), Math.floor(CENTER + RADIUS * Math.cos(angle)), GREY)
  }
  return picture
}

/**
 * What a picture is put on: drawn into the planes before the picture.
 */

import type { Random } from '../random.js'
import { type BackgroundKind, type BackgroundStep, backgroundKinds } from './augment-config.js'
import type { Planes } from './augment-planes.js'

/** Draws which kind. */
export function drawBackgroundKind({ weights }: BackgroundStep, random: Random): BackgroundKind {
  const total = backgroundKinds.reduce((sum, kind) => sum + weights[kind], 0)
  let left = random.uniform() * total
  for (const kind of backgroundKinds) {
    left -= weights[kind]
    if (left < 0) return kind
  }
  return backgroundKinds.findLast((kind) => weights[kind] > 0)!
}

/** Black for `dropAlpha`, which shows it only where there is no picture. */
export function drawBackground(target: Planes, kind: BackgroundKind, random: Random): void {
  switch (kind) {
    case 'dropAlpha':
    case 'black':
      fill(target, () => 0)
      break
    case 'white':
      fill(target, () => 1)
      break
    case 'solid':
      fill(target, () => random.uniform())
      break
    case 'gradient':
      drawGradient(target, random)
      break
    default:
      kind satisfies never
  }
}

function fill({ colors }: Planes, colorOf: () => number): void {
  for (const plane of colors) plane.fill(colorOf())
}

/** Linear, in a random direction, from one corner's projection on it to the other's. */
function drawGradient({ colors, width, height }: Planes, random: Random): void {
  const angle = random.uniform() * 2 * Math.PI
  const [across, down] = [Math.cos(angle), Math.sin(angle)]
  const reach = (Math.abs(across) * width + Math.abs(down) * height) / 2
  for (const plane of colors) {
    const from = random.uniform()
    const to = random.uniform()
    const [middle, slope] = [(from + to) / 2, (to - from) / 2 / reach]
    for (let row = 0, at = 0; row < height; row++) {
      const ofRow = middle + slope * down * (row + 0.5 - height / 2)
      for (let column = 0; column < width; column++, at++) plane[at] = ofRow + slope * across * (column + 0.5 - width / 2)
    }
  }
}

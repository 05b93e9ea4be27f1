/**
 * What makes a picture harder to read without changing what it shows: blur, noise, and a part of it overwritten. In place, values 0..1.
 */

import type { Random } from '../random.js'
import type { EraseStep } from './augment-config.js'
import { drawInside } from './augment-geometry.js'
import type { Planes } from './augment-planes.js'

/**
 * Gaussian blur, separable, mirrored at the borders without repeating them, as torchvision's `gaussian_blur` with a kernel of three sigma to
 * each side (less in pictures that are smaller).
 */
export function blur({ colors, width, height }: Planes, sigma: number): void {
  if (sigma <= 0) return
  const across = kernel(sigma, width)
  const down = kernel(sigma, height)
  const between = new Float32Array(width * height)
  for (const plane of colors) {
    blurRows(plane, between, across, width)
    blurColumns(between, plane, down, width)
  }
}

/** Weights from the middle outwards; twice their sum less the first is 1. */
function kernel(sigma: number, length: number): Float64Array {
  const reach = Math.min(Math.ceil(3 * sigma), length - 1)
  const weights = Float64Array.from({ length: reach + 1 }, (_, distance) => Math.exp(-0.5 * (distance / sigma) ** 2))
  const sum = weights.reduce((total, weight) => total + 2 * weight, -weights[0]!)
  return weights.map((weight) => weight / sum)
}

function blurRows(from: Float32Array, to: Float32Array, weights: Float64Array, width: number): void {
  const reach = weights.length - 1
  const padded = new Float32Array(width + 2 * reach)
  for (let start = 0; start < from.length; start += width) {
    for (let index = -reach; index < width + reach; index++) padded[index + reach] = from[start + mirrored(index, width)]!
    for (let index = 0; index < width; index++) {
      const middle = index + reach
      let sum = weights[0]! * padded[middle]!
      for (let distance = 1; distance <= reach; distance++) {
        sum += weights[distance]! * (padded[middle - distance]! + padded[middle + distance]!)
      }
      to[start + index] = sum
    }
  }
}

/** Row by row too: whole rows are added up. */
function blurColumns(from: Float32Array, to: Float32Array, weights: Float64Array, width: number): void {
  const height = from.length / width
  for (let row = 0; row < height; row++) {
    const out = row * width
    for (let column = 0; column < width; column++) to[out + column] = weights[0]! * from[out + column]!
    for (let distance = 1; distance < weights.length; distance++) {
      const weight = weights[distance]!
      const above = mirrored(row - distance, height) * width
      const below = mirrored(row + distance, height) * width
      for (let column = 0; column < width; column++) to[out + column]! += weight * (from[above + column]! + from[below + column]!)
    }
  }
}

function mirrored(index: number, length: number): number {
  const positive = index < 0 ? -index : index
  return positive < length ? positive : 2 * (length - 1) - positive
}

const N_QUANTILES = 1 << 16
let quantiles: Float32Array | undefined

/** Adds normally distributed numbers of this deviation and clamps to 0..1. Each is one of 65536 equally likely quantiles: two a draw. */
export function addNoise({ colors }: Planes, deviation: number, random: Random): void {
  if (deviation <= 0) return
  quantiles ??= normalQuantiles()
  for (const plane of colors) {
    for (let at = 0; at < plane.length; at += 2) {
      const bits = random.bits()
      plane[at] = Math.min(1, Math.max(0, plane[at]! + deviation * quantiles[bits & 0xffff]!))
      if (at + 1 < plane.length) plane[at + 1] = Math.min(1, Math.max(0, plane[at + 1]! + deviation * quantiles[bits >>> 16]!))
    }
  }
}

/** The middle of each of `N_QUANTILES` equally likely parts of the normal distribution, by Newton's method from the neighbour outwards. */
function normalQuantiles(): Float32Array {
  const values = new Float32Array(N_QUANTILES)
  const half = N_QUANTILES / 2
  const step = 1 / N_QUANTILES
  let z = 0
  for (let index = 0; index < half; index++) {
    // dz/dp = 1 / density, one Runge-Kutta step of fourth order over the distance to the next middle
    const distance = index === 0 ? step / 2 : step
    const k1 = distance * perDensity(z)
    const k2 = distance * perDensity(z + k1 / 2)
    const k3 = distance * perDensity(z + k2 / 2)
    const k4 = distance * perDensity(z + k3)
    z += (k1 + 2 * k2 + 2 * k3 + k4) / 6
    values[half + index] = z
    values[half - 1 - index] = -z
  }
  return values
}

const perDensity = (z: number) => Math.sqrt(2 * Math.PI) * Math.exp((z * z) / 2)

/** Overwrites a random rectangle. @param mean  the colour that normalises to zero, one a plane */
export function erase(planes: Planes, step: EraseStep, random: Random, mean: readonly number[]): void {
  const { colors, width, height } = planes
  const drawn = drawInside(step, random, { width, height })
  if (!drawn) return
  const [left, top] = [Math.round(drawn.left), Math.round(drawn.top)]
  const [right, bottom] = [Math.round(drawn.left + drawn.width), Math.round(drawn.top + drawn.height)]
  colors.forEach((plane, color) => {
    const value = step.fill === 'mean' ? mean[color]! : random.uniform()
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) plane[y * width + x] = step.fill === 'noise' ? random.uniform() : value
    }
  })
}

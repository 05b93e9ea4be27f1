/** A sweep of 5 directions in 21 strengths over one picture, at layer 9 of ViT-B/32; with another seed the same shapes with other numbers. */

import type { SweepInput } from '../../src/engine/analyses/steering/sweep-contract.js'
import { pictures, randomTensor, vitB32 } from './vit-b-32.js'

export const [nDirections, nStrengths, sweptLayer] = [5, 21, 9]

const one = pictures(1)

export function sweepInput(seed: number): SweepInput {
  return {
    ...{ pixels: one, hookPoint: `blocks.${sweptLayer}.hook_resid_post`, op: 'add', unit: 'norm', places: [{ positions: 'all' }] },
    directions: rowsOf(nDirections, vitB32.dModel, seed).map((vector) => ({ vector })),
    lines: Array.from({ length: nDirections }, (_, direction) => ({ image: 0, direction, place: 0 })),
    strengths: Array.from({ length: nStrengths }, (_, at) => at - Math.floor(nStrengths / 2) + seed / 100),
    targets: rowsOf(3, vitB32.head.dOut, seed + 1).map((direction, index) => ({ label: String(index), direction })),
  }
}

function rowsOf(n: number, width: number, seed: number): Float32Array[] {
  const { data } = randomTensor([n, width], { scale: 1, seed })
  return Array.from({ length: n }, (_, row) => data.slice(row * width, (row + 1) * width))
}

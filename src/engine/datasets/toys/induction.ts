/**
 * Is the second shape the same as the first? Pictures for which attention has to compare two (or four) places, after ViT-Prisma's induction
 * sets: black ground, white shapes 7 pixels apart.
 *
 * `induction`: 32 x 32, two shapes beside or below one another; labels vertical same, vertical different, horizontal same, horizontal
 * different; 1632 of each. `polygenic`: 64 x 64, four shapes in a row or a column, in one of six patterns; 12 labels, 2944 of each.
 *
 * Every picture occurs once; of the labels that have more pictures, a seed chooses as many as the smallest has. (ViT-Prisma counts AAAA
 * four times, once for each shape that is not in it.)
 */

import type { Pixels } from '../../image/pixels.js'
import { createRandom, type Random } from '../../random.js'
import type { Dataset } from '../dataset.js'
import { blank, set, transposed } from './drawing.js'
import { generated } from './generated.js'

type Draw = (picture: Pixels, row: number, column: number) => void

const WHITE = 255
/** Pixels to both sides of the centre: lines of 5, an X of 5 x 5, a disc of radius 2. */
const REACH = 2
const along = [-2, -1, 0, 1, 2]

/** Around a centre; of an upright picture. */
const shapes: readonly (readonly [name: string, draw: Draw])[] = [
  [
    'circle',
    (picture, row, column) => {
      for (const down of along) {
        for (const across of along) if (down * down + across * across <= REACH * REACH) set(picture, row + down, column + across, WHITE)
      }
    },
  ],
  [
    'line',
    (picture, row, column) => {
      for (const down of along) set(picture, row + down, column, WHITE)
    },
  ],
  [
    'x',
    (picture, row, column) => {
      for (const step of along) {
        set(picture, row + step, column + step, WHITE)
        set(picture, row + step, column - step, WHITE)
      }
    },
  ],
  [
    'diagonal',
    (picture, row, column) => {
      for (const step of along) set(picture, row + step, column + step, WHITE)
    },
  ],
]

const OFFSET = 7
const PADDING = 4

interface Arrangement {
  readonly label: number
  /** Whether rows and columns are exchanged after drawing, shapes included. */
  readonly isTransposed: boolean
  /** Of the first shape, before that. */
  readonly row: number
  readonly column: number
  /** One for each place. */
  readonly shapes: readonly number[]
}

/** Two shapes side by side; `vertical` is that transposed. */
export function induction({ seed = 0 }: { readonly seed?: number } = {}): Dataset {
  const side = 32
  const all: Arrangement[] = []
  for (const isTransposed of [true, false]) {
    for (let row = PADDING; row < side - PADDING; row++) {
      for (let column = PADDING; column < side - PADDING - OFFSET; column++) {
        for (const [a] of shapes.entries()) {
          for (const [b] of shapes.entries()) {
            all.push({ label: (isTransposed ? 0 : 2) + (a === b ? 0 : 1), isTransposed, row, column, shapes: [a, b] })
          }
        }
      }
    }
  }
  const chosen = balanced(all, createRandom(seed).fork('induction'))
  return generated({
    name: 'induction',
    version: 1,
    parameters: { seed },
    size: chosen.length,
    classNames: ['vertical same', 'vertical different', 'horizontal same', 'horizontal different'],
    describe: (index) => described(chosen[index]!, chosen[index]!.isTransposed ? 'vertical' : 'horizontal'),
    draw: (index) => drawArrangement(chosen[index]!, side, { down: 0, across: OFFSET }),
  })
}

/** Pattern to label: 0 to 5 in a row, 6 to 11 in a column. */
const patterns = ['AAAA', 'ABAB', 'ABBA', 'AABB', 'ABBB', 'AAAB'] as const
const LARGEST_SHAPE = 5

/** Four shapes below one another; in a row is that transposed. */
export function polygenicInduction({ seed = 0 }: { readonly seed?: number } = {}): Dataset {
  const side = 64
  const first = PADDING + LARGEST_SHAPE
  const all: Arrangement[] = []
  for (const isTransposed of [true, false]) {
    for (let row = first; row < side - 3 * OFFSET - 2 * first; row++) {
      for (let column = first; column < side - first; column++) {
        for (const [a] of shapes.entries()) {
          for (const [b] of shapes.entries()) {
            for (const [index, pattern] of patterns.entries()) {
              const isOneShape = !pattern.includes('B')
              if (isOneShape ? b !== 0 : a === b) continue
              const places = [...pattern].map((letter) => (letter === 'A' ? a : b))
              all.push({ label: index + (isTransposed ? 0 : patterns.length), isTransposed, row, column, shapes: places })
            }
          }
        }
      }
    }
  }
  const chosen = balanced(all, createRandom(seed).fork('polygenic induction'))
  return generated({
    name: 'polygenic-induction',
    version: 1,
    parameters: { seed },
    size: chosen.length,
    classNames: ['horizontal', 'vertical'].flatMap((direction) => patterns.map((pattern) => `${direction} ${pattern}`)),
    describe: (index) => {
      const arrangement = chosen[index]!
      const { label, facets } = described(arrangement, arrangement.isTransposed ? 'horizontal' : 'vertical')
      return { label, facets: { ...facets, pattern: patterns[label % patterns.length]! } }
    },
    draw: (index) => drawArrangement(chosen[index]!, side, { down: OFFSET, across: 0 }),
  })
}

function described({ label, row, column, isTransposed, shapes: places }: Arrangement, direction: string) {
  const [x, y] = isTransposed ? [row, column] : [column, row]
  return { label, facets: { direction, x, y, shapes: places.map((shape) => shapes[shape]![0]).join(' ') } }
}

function drawArrangement(
  { row, column, isTransposed, shapes: places }: Arrangement,
  side: number,
  step: { down: number; across: number },
): Pixels {
  const picture = blank(side)
  places.forEach((shape, place) => {
    shapes[shape]![1](picture, row + place * step.down, column + place * step.across)
  })
  return isTransposed ? transposed(picture) : picture
}

/** As many of each label as the smallest has, in the order in which they were. */
function balanced(all: readonly Arrangement[], random: Random): Arrangement[] {
  const byLabel = new Map<number, Arrangement[]>()
  for (const arrangement of all) {
    const group = byLabel.get(arrangement.label)
    if (group) group.push(arrangement)
    else byLabel.set(arrangement.label, [arrangement])
  }
  const smallest = Math.min(...[...byLabel.values()].map((group) => group.length))
  const chosen = new Set<Arrangement>()
  for (const label of [...byLabel.keys()].sort((a, b) => a - b)) {
    const group = byLabel.get(label)!
    for (const index of random.permutation(group.length).subarray(0, smallest)) chosen.add(group[index]!)
  }
  return all.filter((arrangement) => chosen.has(arrangement))
}

/**
 * Letters of 5 x 7 pixels for captions in pictures: the same on every machine, whatever fonts it has. Only what captions need.
 */

import type { Pixels } from './pixels.js'

/** Rows from the top, the leftmost pixel first. */
const letters: Readonly<Record<string, string>> = {
  '0': '.###. #...# #..## #.#.# ##..# #...# .###.',
  '1': '..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.',
  '2': '.###. #...# ....# ...#. ..#.. .#... #####',
  '3': '##### ...#. ..#.. ...#. ....# #...# .###.',
  '4': '...#. ..##. .#.#. #..#. ##### ...#. ...#.',
  '5': '##### #.... ####. ....# ....# #...# .###.',
  '6': '..##. .#... #.... ####. #...# #...# .###.',
  '7': '##### ....# ...#. ..#.. .#... .#... .#...',
  '8': '.###. #...# #...# .###. #...# #...# .###.',
  '9': '.###. #...# #...# .#### ....# ...#. .##..',
  '.': '..... ..... ..... ..... ..... .##.. .##..',
  '-': '..... ..... ..... ##### ..... ..... .....',
  '+': '..... ..#.. ..#.. ##### ..#.. ..#.. .....',
  '#': '.#.#. .#.#. ##### .#.#. ##### .#.#. .#.#.',
  e: '..... ..... .###. #...# ##### #.... .###.',
  C: '.###. #...# #.... #.... #.... #...# .###.',
  L: '#.... #.... #.... #.... #.... #.... #####',
  S: '.#### #.... #.... .###. ....# ....# ####.',
  ' ': '..... ..... ..... ..... ..... ..... .....',
}

const [letterWidth, letterHeight, gap] = [5, 7, 1]

/** Seven rows of `#` and `.`; empty ones for what there is no letter for. */
export function letterPixels(character: string): readonly string[] {
  return (letters[character] ?? letters[' ']!).split(' ')
}

/** Pixels. */
export function textSize(text: string, scale: number): { width: number; height: number } {
  return { width: Math.max(0, text.length * (letterWidth + gap) - gap) * scale, height: letterHeight * scale }
}

/** Writes into `target`, cut off at its borders. */
export function writeText(
  target: Pixels,
  text: string,
  { left, top, scale, grey }: { readonly left: number; readonly top: number; readonly scale: number; readonly grey: number },
): void {
  for (const [index, character] of [...text].entries()) {
    const rows = letterPixels(character)
    const from = left + index * (letterWidth + gap) * scale
    for (let y = 0; y < letterHeight * scale; y++) {
      for (let x = 0; x < letterWidth * scale; x++) {
        if (rows[Math.floor(y / scale)]![Math.floor(x / scale)] !== '#') continue
        const [column, row] = [from + x, top + y]
        if (column < 0 || row < 0 || column >= target.width || row >= target.height) continue
        const at = (row * target.width + column) * target.channels
        target.data.fill(grey, at, at + target.channels)
      }
    }
  }
}

import { expect, test } from 'vitest'
import { cutOut } from '../../../src/engine/image/cut-out.js'

/** `.` white, `#` red, `o` white but half transparent. */
function drawn(...rows: readonly string[]) {
  const colours = { '.': [255, 255, 255, 255], '#': [200, 0, 0, 255], o: [255, 255, 255, 128] } as const
  const data = Uint8Array.from(rows.flatMap((row) => [...row].flatMap((each) => colours[each as keyof typeof colours])))
  return { width: rows[0]!.length, height: rows.length, channels: 4, data } as const
}

const alphas = ({ data, width }: { data: Uint8Array; width: number }) => {
  const all = Array.from({ length: data.length / 4 }, (_, at) => data[at * 4 + 3]!)
  return Array.from({ length: all.length / width }, (_, row) => all.slice(row * width, (row + 1) * width).join(' '))
}

test('white that reaches the edge goes, what it encloses stays', () => {
  expect(alphas(cutOut(drawn('.....', '.###.', '.#.#.', '.###.', '.....')))).toEqual([
    '0 0 0 0 0',
    '0 255 255 255 0',
    '0 255 255 255 0',
    '0 255 255 255 0',
    '0 0 0 0 0',
  ])
})

test('a picture that fills its frame, and one that is transparent already, stay as they are', () => {
  const full = drawn('##', '##')
  expect(cutOut(full).data).toEqual(full.data)
  expect(alphas(cutOut(drawn('o#', '#o')))).toEqual(['128 255', '255 128'])
})

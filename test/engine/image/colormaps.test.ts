import fs from 'node:fs'
import { describe, expect, test } from 'vitest'
import { colormap, colormapNames, colourIndex } from '../../../src/engine/image/colormaps.js'

const golden = JSON.parse(fs.readFileSync(new URL('../../fixtures/colormaps/colours.json', import.meta.url), 'utf8')) as {
  numbers: number[]
  colours: Record<string, number[][]>
}

describe.each(colormapNames.filter((name) => name !== 'grey'))('%s', (name) => {
  test('has the colours of matplotlib, byte by byte', () => {
    const table = colormap(name)
    const ours = golden.numbers.map((number) => [...table.subarray(colourIndex(number) * 3, colourIndex(number) * 3 + 3)])
    expect(ours).toEqual(golden.colours[name])
    expect(table).toHaveLength(256 * 3)
  })
})

test('grey is each number of 0 to 255 three times', () => {
  expect([...colormap('grey')]).toEqual(Array.from({ length: 768 }, (_, at) => Math.floor(at / 3)))
})

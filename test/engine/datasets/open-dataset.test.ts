import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { openDataset } from '../../../src/engine/datasets/open-dataset.js'
import { folderWith, limits, refusal } from './pictures.js'

const problemsOf = async (config: unknown) => {
  const error = (await refusal(openDataset(config, { limits }))) as {
    code: string
    problems?: readonly { path: string; message: string }[]
  }
  expect(error.code).toBe('CONFIG_INVALID')
  return error.problems!.map(({ path: where, message }) => `${where}: ${message}`).sort()
}

describe('a configuration', () => {
  test('opens each kind of toy', async () => {
    const size = async (config: object) => (await openDataset(config, { limits })).size
    expect(await size({ kind: 'shapes', sample: 10, seed: 1 })).toBe(10)
    expect(await size({ kind: 'induction' })).toBe(6528)
    expect(await size({ kind: 'polygenic-induction', holdOut: { fraction: 0.1, seed: 0, take: 'heldOut' } })).toBe(12 * 294)
    expect(await size({ kind: 'circle', holdOut: { fraction: 0.5, take: 'rest' } })).toBeGreaterThan(800)
  })

  test('names folders relative to its own', async () => {
    const folder = await folderWith(['a/1.png', 'b/1.png'])
    const dataset = await openDataset({ kind: 'folder', folder: path.basename(folder) }, { limits, baseFolder: path.dirname(folder) })
    expect(dataset.size).toBe(2)
  })

  test('may put several data sets together', async () => {
    const parts = [
      { kind: 'shapes', sample: 3 },
      { kind: 'shapes', sample: 4, seed: 1 },
    ]
    expect((await openDataset({ kind: 'concat', parts }, { limits })).size).toBe(7)
  })

  test('says everything that is wrong with it before anything is read', async () => {
    expect(
      await problemsOf({
        kind: 'folder',
        folder: '/nowhere',
        splti: 'train',
        unreadable: 'ignore',
        captions: [{ text: 'a {x}', wieght: 1 }],
      }),
    ).toEqual([
      'data.captions[0].text: there is no {x}; there is {class}',
      'data.captions[0].wieght: unknown field "wieght". Did you mean "weight"?',
      expect.stringMatching(/^data\.splti: unknown field/),
      'data.unreadable: "ignore" is not one of "fail", "skip"',
    ])
    expect(
      await problemsOf({
        kind: 'concat',
        parts: [
          { kind: 'shapes', sample: 0 },
          { kind: 'circle', seed: 1 },
        ],
      }),
    ).toEqual([
      'data.parts[0].sample: 0 is not a whole number from 1 to 737280',
      expect.stringMatching(/^data\.parts\[1\]\.seed: unknown field "seed"/),
    ])
  })

  test.each([
    [{}, /data\.kind: is missing/],
    [{ kind: 'fodler' }, /did you mean "folder"\?/],
    [{ kind: 'constructor' }, /is not one of/],
    ['folder', /data: "folder" is not an object/],
    [null, /is not an object/],
    [{ kind: 'list' }, /data\.file: is missing/],
    [{ kind: 'list', file: 'x.csv', columns: { flie: 'x' } }, /Did you mean "file"\?/],
    [{ kind: 'list', file: 'x.csv', classNames: ['a', 'a'] }, /"a" is there twice/],
    [{ kind: 'list', file: 'x.csv', classNames: ['a'], nClasses: 1 }, /classNames say how many/],
    [{ kind: 'emoji', folder: 'x', label: 'Category' }, /did you mean "category"\?/],
    [{ kind: 'concat' }, /data\.parts: is missing/],
    [{ kind: 'concat', parts: [] }, /at least one/],
    [{ kind: 'circle', holdOut: { fraction: 1, take: 'rest' } }, /fraction/],
    [{ kind: 'circle', holdOut: { fraction: 0.5, take: 'test' } }, /"test" is not one of "rest", "heldOut"/],
    [{ kind: 'shapes', seed: '1' }, /"1" is not a whole number/],
  ])('%j is refused', async (config, message) => {
    expect((await problemsOf(config)).join('\n')).toMatch(message)
  })
})

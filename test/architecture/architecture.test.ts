import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { backendLeaks, circles, drawers, forbiddenImports, impurities, readSources, type SourceFile, tooLong } from './rules.js'

const sources = readSources(path.resolve(import.meta.dirname, '../../src'))
const file = (path: string, text: string): SourceFile => ({ path, text })

describe('the house as it stands', () => {
  test('doors open one way only', () => expect(forbiddenImports(sources)).toEqual([]))
  test('no circles', () => expect(circles(sources)).toEqual([]))
  test('no file over 500 lines', () => expect(tooLong(sources)).toEqual([]))
  test('no drawers', () => expect(drawers(sources)).toEqual([]))
  test('the engine reads no environment and prints nothing', () => expect(impurities(sources)).toEqual([]))
  test('only the host names a concrete backend', () => expect(backendLeaks(sources)).toEqual([]))
})

describe('each guard trips', () => {
  test('on the engine importing the catalog', () => {
    expect(forbiddenImports([file('engine/host/host.ts', "import { x } from '../../catalog/catalog.js'")])).toHaveLength(1)
  })
  test('on the image room importing models', () => {
    expect(forbiddenImports([file('engine/image/a.ts', "import type { X } from '../models/vit.js'")])).toHaveLength(1)
  })
  test('on an operation importing the server', () => {
    expect(forbiddenImports([file('operations/a.ts', "import { x } from '../server/app.js'")])).toHaveLength(1)
  })
  test('on a room nobody planned', () => {
    expect(forbiddenImports([file('stuff/a.ts', "import { x } from '../engine/tensor.js'")])).toHaveLength(1)
  })
  test('on a circle, but not on a circle of types', () => {
    expect(circles([file('a.ts', "import { b } from './b.js'"), file('b.ts', "import { a } from './a.js'")])).toEqual([
      'a.ts -> b.ts -> a.ts',
    ])
    expect(circles([file('a.ts', "import type { B } from './b.js'"), file('b.ts', "import { a } from './a.js'")])).toEqual([])
  })
  test('on a long file', () => expect(tooLong([file('a.ts', '\n'.repeat(500))])).toHaveLength(1))
  test('on a drawer', () => expect(drawers([file('engine/utils.ts', ''), file('server/helpers/x.ts', '')])).toHaveLength(2))
  test('on the environment inside the engine', () => {
    expect(impurities([file('engine/a.ts', 'const t = process.env.HF_TOKEN'), file('cli/a.ts', 'console.log(1)')])).toEqual(['engine/a.ts'])
  })
  test('on a model that picks its backend', () => {
    expect(backendLeaks([file('engine/models/a.ts', "import { x } from '../backends/onnxruntime/onnxruntime-backend.js'")])).toHaveLength(1)
  })
})

import { describe, expect, test } from 'vitest'
import type { EngineError } from '../../../src/engine/errors.js'
import { applyEdits, editInputs } from '../../../src/engine/interventions/apply-edits.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { validateEdits } from '../../../src/engine/interventions/validate-edits.js'
import { randomVector, textTower, visionConfig, visionTower } from './tiny-towers.js'

const tower = visionTower()
const resid = 'blocks.1.hook_resid_post'
const v = randomVector(8, 1)
const ok: Edit = { hookPoint: resid, op: 'add', vector: v, strength: 1, unit: 'raw' }
const withNaN = v.map((value, index) => (index === 3 ? Number.NaN : value))

function refusal(edits: readonly unknown[], { on = tower, nInputs = 2 } = {}): EngineError {
  try {
    validateEdits(edits as Edit[], on, { nInputs, model: 'tiny' })
  } catch (error) {
    return error as EngineError
  }
  throw new Error('the edits were accepted')
}

describe('an edit is refused', () => {
  const values = (shape: number[], data: Float32Array = new Float32Array(shape.reduce((product, length) => product * length, 1))) => ({
    source: { values: { shape, data } },
  })
  test.each<[string, object, string, RegExp, string?]>([
    [
      'at a hook point that is not there',
      { ...ok, hookPoint: 'blocks.2.hook_resid_post' },
      'hookPoint',
      /in tiny\. Did you mean "blocks/,
      'HOOK_POINT_UNKNOWN',
    ],
    [
      'with a vector of another length',
      { ...ok, vector: v.subarray(1) },
      'vector',
      /has 7 numbers; blocks.1.hook_resid_post needs 8, .*dModel/,
    ],
    ['with a vector that holds NaN', { ...ok, vector: withNaN }, 'vector', /element 3 is NaN/],
    ['with a vector that is no float32 array', { ...ok, vector: [1, 2] }, 'vector', /float32/],
    ['with a NaN strength', { ...ok, strength: Number.NaN }, 'strength', /NaN/],
    ['with an infinite strength', { ...ok, strength: Number.POSITIVE_INFINITY }, 'strength', /Infinity/],
    ['with a strength that is a string', { ...ok, strength: '4' }, 'strength', /4/],
    ['with a strength that makes the vector overflow', { ...ok, vector: v.map(() => 1e20), strength: 1e20 }, 'strength', /float32 holds/],
    ['with an unknown unit', { ...ok, unit: 'norms' }, 'unit', /"norms"/],
    ['with a zero vector where a direction is needed', { ...ok, vector: new Float32Array(8), unit: 'norm' }, 'vector', /no direction/],
    ['that projects out nothing', { hookPoint: resid, op: 'project-out', vector: new Float32Array(8) }, 'vector', /no direction/],
    ['that sets NaN', { hookPoint: resid, op: 'set', value: Number.NaN }, 'value', /NaN/],
    ['that sets more than float32 holds', { hookPoint: resid, op: 'set', value: 1e39 }, 'value', /float32/],
    ['that scales by NaN', { hookPoint: resid, op: 'scale', strength: Number.NaN }, 'strength', /NaN/],
    ['that clamps between nothing', { hookPoint: resid, op: 'clamp-projection', vector: v }, '', /"min", "max" or both/],
    [
      'that clamps upside down',
      { hookPoint: resid, op: 'clamp-projection', vector: v, min: 2, max: 1 },
      '',
      /"min" \(2\) is more than "max" \(1\)/,
    ],
    ['that clamps to NaN', { hookPoint: resid, op: 'clamp-projection', vector: v, min: Number.NaN }, 'min', /NaN/],
    ['of an unknown kind', { hookPoint: resid, op: 'boost' }, 'op', /"boost".*project-out/],
    [
      'that patches from an input that is not there',
      { hookPoint: resid, op: 'patch', source: { input: 2 } },
      'source.input',
      /inputs 0 to 1/,
    ],
    ['that patches from half an input', { hookPoint: resid, op: 'patch', source: { input: 0.5 } }, 'source.input', /whole number/],
    [
      'with values of another shape',
      { hookPoint: resid, op: 'patch', ...values([1, 6, 7]) },
      'source.values',
      /\[1 or 2, 6, 8\]/,
      'SHAPE_MISMATCH',
    ],
    [
      'with values of another number of inputs',
      { hookPoint: resid, op: 'patch', ...values([3, 6, 8]) },
      'source.values',
      /\[1 or 2, 6, 8\]/,
      'SHAPE_MISMATCH',
    ],
    [
      'with values that are fewer than their shape',
      { hookPoint: resid, op: 'patch', ...values([1, 6, 8], v) },
      'source.values',
      /expected/,
      'SHAPE_MISMATCH',
    ],
    [
      'with values that hold NaN',
      { hookPoint: resid, op: 'patch', ...values([1, 6, 8], new Float32Array(48).fill(Number.NaN)) },
      'source.values',
      /NaN/,
    ],
    [
      'at a position that is not there',
      { ...ok, positions: [6] },
      'positions',
      /position 6 is out of range; .* 0 to 5/,
      'POSITION_OUT_OF_RANGE',
    ],
    ['at a negative position', { ...ok, positions: [-1] }, 'positions', /out of range/, 'POSITION_OUT_OF_RANGE'],
    ['at half a position', { ...ok, positions: [0.5] }, 'positions', /out of range/, 'POSITION_OUT_OF_RANGE'],
    ['at positions that are strings', { ...ok, positions: ['0'] }, 'positions', /whole numbers/],
    ['at a position twice', { ...ok, positions: [1, 1] }, 'positions', /1 is there twice/],
    ['at no position', { ...ok, positions: [] }, 'positions', /nowhere/],
    ['at a misspelt selection', { ...ok, positions: 'patch' }, 'positions', /"patches"/],
    ['at CLS where there are only patches', { ...ok, hookPoint: 'hook_embed', positions: 'cls' }, 'positions', /only patches/],
    [
      'at positions of what has none',
      { hookPoint: 'hook_post_head_pre_normalize', op: 'zero', positions: [0] },
      'positions',
      /no positions/,
    ],
    ['at heads of what has none', { ...ok, heads: [0] }, 'heads', /no head axis: its axes are batch, pos, dModel/],
    ['at a head that is not there', { hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [2] }, 'heads', /head 2 .* heads 0 to 1/],
    ['at a head twice', { hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [1, 1] }, 'heads', /twice/],
    ['at no head', { hookPoint: 'blocks.0.attn.hook_z', op: 'zero', heads: [] }, 'heads', /nowhere/],
  ])('%s', (_, edit, path, message, code = 'EDIT_INVALID') => {
    const error = refusal([ok, edit])
    const at = `edits[1]${path && `.${path}`}`
    expect(error.code).toBe(code)
    expect(error.problems.map((problem) => problem.path)).toEqual([at])
    expect(error.problems[0]!.message).toMatch(message)
  })

  test('"cls" in a model without one, and in a text', () => {
    const headless = visionTower([], { ...visionConfig, hasCls: false, pooling: 'mean' })
    expect(refusal([{ ...ok, positions: 'cls' }], { on: headless }).message).toMatch(/no CLS token/)
    expect(refusal([{ ...ok, positions: 'patches' }], { on: textTower() }).message).toMatch(/text tower, give indices/)
  })
})

test('all problems of all edits are reported at once', () => {
  const error = refusal([
    { ...ok, strength: Number.NaN, vector: withNaN, positions: [9], heads: [0] },
    ok,
    { ...ok, hookPoint: 'nowhere' },
    { hookPoint: resid, op: 'patch', source: { input: 7 } },
  ])
  expect(error.problems.map(({ path }) => path)).toEqual([
    'edits[0].positions',
    'edits[0].heads',
    'edits[0].strength',
    'edits[0].vector',
    'edits[2].hookPoint',
    'edits[3].source.input',
  ])
  expect(error.code).toBe('POSITION_OUT_OF_RANGE')
})

test('nothing is built or fed from edits that are not valid', () => {
  const bad: Edit[] = [{ ...ok, strength: Number.NaN } as Edit]
  expect(() => applyEdits(tower.graph, bad, tower)).toThrow(/strength/)
  expect(() => editInputs(bad, tower, 1)).toThrow(/strength/)
  expect(() => editInputs([{ hookPoint: resid, op: 'patch', source: { input: 1 } }], tower, 1)).toThrow(/inputs 0 to 0/)
})

test('what is right is accepted', () => {
  const edits: Edit[] = [
    ok,
    { ...ok, strength: 0, positions: 'patches' } as Edit,
    { hookPoint: 'blocks.0.attn.hook_pattern', op: 'zero', heads: [1], positions: 'cls' },
    { hookPoint: 'hook_embed', op: 'mean', positions: [3] },
    { hookPoint: resid, op: 'patch', source: { values: { shape: [2, 6, 8], data: new Float32Array(96) } } },
  ]
  expect(() => validateEdits(edits, tower, { nInputs: 2 })).not.toThrow()
})

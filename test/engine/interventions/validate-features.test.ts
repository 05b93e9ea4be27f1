import { describe, expect, test } from 'vitest'
import type { EngineError } from '../../../src/engine/errors.js'
import type { Edit } from '../../../src/engine/interventions/edit.js'
import { validateEdits } from '../../../src/engine/interventions/validate-edits.js'
import type { SaeConfig } from '../../../src/engine/saes/sae.js'
import { saeConfig, saeConfigs } from './tiny-saes.js'
import { randomVector, textTower, visionTower } from './tiny-towers.js'

const vision = visionTower()
const resid = saeConfig.hookPoint
const add = { hookPoint: resid, op: 'feature-add', sae: 0, features: [{ feature: 3, strength: 1 }] }

function refusal(
  edits: readonly object[],
  { configs = [saeConfig], tower = vision }: { configs?: SaeConfig[]; tower?: typeof vision } = {},
) {
  const saes = configs.map((config, index) => ({ config, prefix: `saes[${index}].`, name: `sae ${index}` }))
  try {
    validateEdits(edits as Edit[], { ...tower, saes }, { model: 'tiny' })
  } catch (error) {
    return error as EngineError
  }
  return undefined
}

describe('an edit of features is refused', () => {
  test.each<[string, object, string, RegExp]>([
    ['of an SAE that does not come with it', { ...add, sae: 1 }, 'sae', /SAE 1 does not come/],
    [
      'at a hook point that the SAE does not write',
      { ...add, hookPoint: 'blocks.1.hook_resid_post' },
      'hookPoint',
      /writes "blocks.0.hook_resid_post"/,
    ],
    ['at heads', { ...add, heads: [0] }, 'heads', /no head/],
    ['with a flag that is none', { ...add, keepError: 'yes' }, 'keepError', /true or false/],
    ['of no feature', { ...add, features: [] }, 'features', /1 to 1024 features; there are 0/],
    [
      'of more features than there is room for',
      { ...add, features: Array.from({ length: 1025 }, (_, feature) => ({ feature, strength: 1 })) },
      'features',
      /1025/,
    ],
    ['of half a feature', { ...add, features: [{ feature: 0.5, strength: 1 }] }, 'features[0].feature', /0 to 23/],
    [
      'of a feature twice',
      { ...add, features: [3, 4, 3].map((feature) => ({ feature, strength: 1 })) },
      'features[2].feature',
      /features\[0\]/,
    ],
    [
      'with an infinite strength',
      { ...add, features: [{ feature: 3, strength: Number.POSITIVE_INFINITY }] },
      'features[0].strength',
      /Infinity/,
    ],
    ['with a value beyond float32', { ...add, op: 'feature-set', features: [{ feature: 3, value: 1e39 }] }, 'features[0].value', /float32/],
    ['between nothing', { ...add, op: 'feature-clamp', features: [{ feature: 3 }] }, 'features[0]', /"min", "max" or both/],
  ])('%s', (_what, edit, where, message) => {
    const error = refusal([add, edit])!
    expect(error.problems.map(({ path }) => path)).toContain(`edits[1].${where}`)
    expect(error.problems.find(({ path }) => path === `edits[1].${where}`)!.message).toMatch(message)
  })

  test('of an SAE of another width', () => {
    const configs = [{ ...saeConfig, dIn: 16, dOut: 16 }]
    expect(refusal([add], { configs })).toMatchObject({ code: 'SAE_MISFIT', problems: [{ path: 'edits[0].sae' }] })
  })

  test('of a transcoder that predicts what comes before what it reads', () => {
    const { transcoder } = saeConfigs.transcoder!
    const config = { ...saeConfigs.transcoder!, transcoder: { ...transcoder!, hookPointOut: 'blocks.0.hook_resid_pre' } }
    const edit = { ...add, hookPoint: 'blocks.0.hook_resid_pre' }
    expect(refusal([edit], { configs: [config] })!.message).toMatch(/comes after it/)
  })

  test('of a text', () => {
    const [problem] = refusal([add], { tower: textTower() as never })!.problems
    expect(problem).toMatchObject({ path: 'edits[0]', message: expect.stringMatching(/read pictures/) })
  })
})

describe('edits contradict', () => {
  const set = (value: number, more: object = {}) => ({
    hookPoint: resid,
    op: 'feature-set',
    sae: 0,
    features: [{ feature: 3, value }],
    ...more,
  })
  const ablate = { hookPoint: resid, op: 'feature-ablate', sae: 0, features: [{ feature: 2 }, { feature: 3 }] }
  const v = randomVector(8, 1)

  test.each<[string, object[]]>([
    ['that set a feature to two values', [set(1), set(2)]],
    ['that set and ablate it', [set(1), ablate]],
    ['wherever else there are edits in between', [set(1), add, set(2)]],
    [
      'that set a hook point twice',
      [
        { hookPoint: resid, op: 'set', vector: v },
        { hookPoint: resid, op: 'zero' },
      ],
    ],
    [
      'at one position that both have',
      [
        { hookPoint: resid, op: 'zero', positions: [1, 2] },
        { hookPoint: resid, op: 'set', value: 1, positions: [2, 3] },
      ],
    ],
  ])('%s', (_what, edits) => {
    const error = refusal(edits)!
    expect(error.code).toBe('EDIT_INVALID')
    expect(error.problems[0]!.message).toMatch(/contradicts edits\[0\]/)
    expect(error.problems[0]!.path).toBe(`edits[${edits.length - 1}]`)
  })

  test.each<[string, object[]]>([
    ['say the same', [set(1), set(1)]],
    ['say nothing of one place', [set(1, { positions: 'cls' }), set(2, { positions: 'patches' })]],
    ['speak of other features', [set(1), { ...ablate, features: [{ feature: 2 }] }]],
    ['speak of other SAEs', [set(1), set(2, { sae: 1 })]],
    ['add', [add, add]],
    ['zero a head each', [0, 1].map((head) => ({ hookPoint: 'blocks.0.attn.hook_z', op: 'set', value: head, heads: [head] }))],
  ])('not when they %s', (_what, edits) => {
    expect(refusal(edits, { configs: [saeConfig, saeConfig] })).toBeUndefined()
  })
})

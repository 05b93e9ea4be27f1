import fs from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { hookPointsOf, hookPointTable, matchHookPoints } from '../../../src/engine/hook-points.js'
import type { VisionConfig } from '../../../src/engine/models/model.js'

const vit: VisionConfig = {
  nLayers: 12,
  dModel: 768,
  nHeads: 12,
  dHead: 64,
  dMlp: 3072,
  activation: 'quick_gelu',
  normalization: 'layerNorm',
  normEps: 1e-5,
  biases: { qkv: true, attnOut: true, mlp: true },
  scaleAttention: true,
  layerScale: false,
  normalizeOutput: true,
  imageSize: { height: 224, width: 224 },
  patchSize: { height: 32, width: 32 },
  nChannels: 3,
  patchBias: false,
  hasCls: true,
  nRegisters: 0,
  lnPre: true,
  finalNorm: 'tokens',
  pooling: 'cls',
  head: { kind: 'projection', dOut: 512, bias: false },
}

const infos = hookPointsOf(vit)
const match = (...patterns: string[]) => matchHookPoints(patterns, infos, { model: 'vit-b-32' })
const shapeOf = (name: string, config = vit) => hookPointsOf(config).find((info) => info.name === name)?.shape

describe('the hook points of CLIP ViT-B/32', () => {
  test('fire in the order of ViT-Prisma', () => {
    const names = infos.filter(({ optional }) => !optional).map(({ name }) => name)
    expect(names.slice(0, 6)).toEqual([
      'hook_embed',
      'hook_pos_embed',
      'hook_full_embed',
      'ln_pre.hook_scale',
      'ln_pre.hook_normalized',
      'hook_ln_pre',
    ])
    expect(names.filter((name) => name.startsWith('blocks.3.'))).toEqual(
      [
        'hook_resid_pre',
        'ln1.hook_scale',
        'ln1.hook_normalized',
        'attn.hook_q',
        'attn.hook_k',
        'attn.hook_v',
        'attn.hook_attn_scores',
        'attn.hook_pattern',
        'attn.hook_z',
        'hook_attn_out',
        'hook_resid_mid',
        'ln2.hook_scale',
        'ln2.hook_normalized',
        'mlp.hook_pre',
        'mlp.hook_post',
        'hook_mlp_out',
        'hook_resid_post',
      ].map((name) => `blocks.3.${name}`),
    )
    expect(names.slice(-4)).toEqual(['ln_final.hook_scale', 'ln_final.hook_normalized', 'hook_ln_final', 'hook_post_head_pre_normalize'])
    expect(names).toHaveLength(6 + 12 * 17 + 4)
  })

  test.each([
    ['hook_embed', ['batch', 49, 768]],
    ['hook_full_embed', ['batch', 50, 768]],
    ['blocks.11.attn.hook_pattern', ['batch', 12, 50, 50]],
    ['blocks.0.attn.hook_z', ['batch', 50, 12, 64]],
    ['blocks.0.attn.hook_result', ['batch', 50, 12, 768]],
    ['blocks.5.ln1.hook_scale', ['batch', 50, 1]],
    ['blocks.5.mlp.hook_pre', ['batch', 50, 3072]],
    ['hook_post_head_pre_normalize', ['batch', 512]],
  ])('%s is %j', (name, shape) => expect(shapeOf(name)).toEqual(shape))

  test('are fewer without norms, MLP or ln_pre', () => {
    const { dMlp, ...attnOnly } = { ...vit, normalization: 'none' as const, lnPre: false }
    const names = hookPointsOf(attnOnly).map(({ name }) => name)
    expect(names.filter((name) => /ln|mlp|resid_mid/.test(name))).toEqual(['hook_ln_final'])
    expect(dMlp).toBe(3072)
  })

  test('count what a patch does not fill as no patch, and registers as positions', () => {
    const odd = { ...vit, imageSize: { height: 100, width: 70 }, nRegisters: 4 }
    expect(shapeOf('hook_embed', odd)).toEqual(['batch', 6, 768])
    expect(shapeOf('blocks.0.hook_resid_pre', odd)).toEqual(['batch', 11, 768])
  })
})

describe('patterns', () => {
  test('a name selects itself, each once, in firing order', () => {
    expect(match('hook_full_embed', 'hook_embed', 'hook_embed')).toEqual(['hook_embed', 'hook_full_embed'])
  })
  test('a star stands for one part, or within one', () => {
    expect(match('blocks.*.hook_resid_post')).toHaveLength(12)
    expect(match('blocks.1*.hook_resid_p*')).toHaveLength(3 * 2)
    expect(match('*')).toEqual([
      'hook_embed',
      'hook_pos_embed',
      'hook_full_embed',
      'hook_ln_pre',
      'hook_ln_final',
      'hook_post_head_pre_normalize',
    ])
  })
  test('a star in the last part leaves optional hook points out, unless it can mean nothing else', () => {
    expect(match('blocks.0.attn.hook_*')).not.toContain('blocks.0.attn.hook_result')
    expect(match('blocks.0.hook_*_input')).toEqual(['blocks.0.hook_q_input', 'blocks.0.hook_k_input', 'blocks.0.hook_v_input'])
    expect(match('blocks.*.attn.hook_result')).toHaveLength(12)
  })
  test('every name, and every name with stars in it, selects that name', () => {
    fc.assert(
      fc.property(fc.constantFrom(...infos), fc.nat(), fc.nat(), (info, from, length) => {
        const start = from % info.name.length
        const starred = `${info.name.slice(0, start)}*${info.name.slice(start).replace(new RegExp(`^[^.]{0,${length % 5}}`), '')}`
        expect(match(info.name)).toEqual([info.name])
        const lastPart = starred.slice(starred.lastIndexOf('.') + 1)
        if (!info.optional || !lastPart.includes('*')) expect(match(starred)).toContain(info.name)
      }),
    )
  })
  test('a hostile pattern costs no time', () => {
    const start = performance.now()
    expect(() => match(`${'*a'.repeat(2000)}*b`)).toThrow(EngineError)
    expect(performance.now() - start).toBeLessThan(1000)
  })
  test('an unknown name is refused with the nearest, in the form that was asked', () => {
    expect(() => match('blocks.3.hook_resid_pots')).toThrow('Did you mean "blocks.3.hook_resid_post"')
    expect(() => match('blocks.*.hook_resid_pots')).toThrow('Did you mean "blocks.*.hook_resid_post"')
    expect(() => match('blocks.12.hook_resid_post')).toThrow('Unknown hook point "blocks.12.hook_resid_post" in vit-b-32')
  })
  test('all that are unknown are named at once, each with its place', () => {
    try {
      matchHookPoints(['hook_embed', 'hook_embd', 'nonsense'], infos, { model: 'm', path: 'edits' })
      expect.unreachable()
    } catch (error) {
      expect((error as EngineError).code).toBe('HOOK_POINT_UNKNOWN')
      expect((error as EngineError).problems.map(({ path }) => path)).toEqual(['edits[1]', 'edits[2]'])
    }
  })
})

test('the documentation lists exactly these hook points, with their meaning', () => {
  const docs = fs.readFileSync(path.resolve(import.meta.dirname, '../../../docs/compatibility.md'), 'utf8')
  const section = docs.slice(docs.indexOf('## Hook points'), docs.indexOf('Not in ViT-Prisma'))
  const rows = [...section.matchAll(/^\| `([^`]+)` \| ([^|]+) \| ([^|]*) \|$/gm)].map(([, name, meaning, exists]) => ({
    name,
    meaning,
    exists,
  }))
  expect(rows).toEqual(
    hookPointTable.map(({ name, meaning, exists, optional }) => ({
      name,
      meaning,
      exists: [optional && 'when asked for', exists?.words].filter((words) => words).join('; ') || 'always',
    })),
  )
})

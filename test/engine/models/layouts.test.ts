import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/engine/errors.js'
import { safetensorsChunks } from '../../../src/engine/io/safetensors.js'
import { openWeightFolder } from '../../../src/engine/io/weight-folder.js'
import { timmArchitectures } from '../../../src/engine/models/layouts/timm-architectures.js'
import { describeModel, loadModel } from '../../../src/engine/models/load.js'
import { float32, int64, type Tensor } from '../../../src/engine/tensor.js'
import { fixtureNames, folderOf, relativeDifference } from './fixtures.js'

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'layouts-'))
afterAll(() => fs.rmSync(scratch, { recursive: true }))

type Json = Record<string, unknown>
type Weights = Map<string, Tensor>

/** A fixture's folder with its configuration and weights changed; the weights become one model.safetensors. */
async function changed(
  name: string,
  {
    config,
    weights,
    file = 'config.json',
  }: { config?: (json: Json) => Json | undefined; weights?: (weights: Weights) => void; file?: string },
): Promise<string> {
  const folder = fs.mkdtempSync(path.join(scratch, `${name}-`))
  fs.cpSync(folderOf(name), folder, { recursive: true })
  if (config) {
    const json = config(JSON.parse(fs.readFileSync(path.join(folder, file), 'utf8')) as Json)
    if (json) fs.writeFileSync(path.join(folder, file), JSON.stringify(json))
    else fs.rmSync(path.join(folder, file))
  }
  if (weights) {
    const opened = await openWeightFolder(folder)
    const tensors: Weights = new Map()
    for (const key of opened.entries.keys()) tensors.set(key, await opened.read(key))
    await opened.close()
    weights(tensors)
    for (const old of fs.readdirSync(folder)) if (/\.(safetensors|bin|pth)$|index\.json$/.test(old)) fs.rmSync(path.join(folder, old))
    fs.writeFileSync(path.join(folder, 'model.safetensors'), Buffer.concat(safetensorsChunks(tensors)))
  }
  return folder
}

const refusal = async (folder: string) => {
  const error = await describeModel(folder).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(EngineError)
  const { code, message } = error as EngineError
  return `${code}: ${message}`
}

describe.each(fixtureNames.filter((name) => name !== 'hf-dinov2-resized'))('the weights of %s', (name) => {
  test('have to be complete, known and of the right shapes; every problem is named as the file names it', async () => {
    const victims: string[] = []
    const folder = await changed(name, {
      weights: (weights) => {
        const matrices = [...weights].filter(
          ([key, { shape }]) => shape.length === 2 && shape[0] !== shape[1] && !/pooler|head\.W_H|mask/.test(key),
        )
        const [missing] = [...weights.keys()].filter((key) => /0\..*((fc1|c_fc|intermediate\.dense)\.weight|attn\.W_O)$/.test(key))
        const turned = matrices.map(([key]) => key).find((key) => key !== missing)
        weights.delete(missing!)
        victims.push(`"${missing}"`)
        if (turned) {
          const { shape, data } = weights.get(turned)!
          weights.set(turned, float32(shape.toReversed(), Array.from(data, Number)))
          victims.push(`"${turned}" has shape [${shape.toReversed().join(', ')}]; expected [${shape.join(', ')}]`)
        }
        weights.set('surprise.weight', float32([2, 3], new Float32Array(6)))
        victims.push('"surprise.weight" [2, 3] is not a weight of this model')
      },
    })
    const message = await refusal(folder)
    expect(message).toMatch(/^WEIGHTS_MISMATCH/)
    for (const victim of victims) expect(message).toContain(victim)
  })
})

describe('weights', () => {
  test('of whole numbers are refused', async () => {
    const folder = await changed('hf-vit', { weights: (weights) => weights.set('layernorm.bias', int64([16], Array(16).fill(0))) })
    expect(await refusal(folder)).toContain('"layernorm.bias" holds int64; expected floating-point numbers')
  })

  test('under a prefix that wrappers or the library put there are the same weights', async () => {
    const plain = await loadModel(folderOf('hf-vit'))
    for (const prefix of ['model.', 'vit.', 'model.vit.', '_orig_mod.module.']) {
      const folder = await changed('hf-vit', {
        weights: (weights) => {
          for (const [key, value] of [...weights]) {
            weights.delete(key)
            weights.set(prefix + key, value)
          }
        },
      })
      const prefixed = await loadModel(folder)
      expect(prefixed.description).toEqual(plain.description)
      expect(prefixed.towers.vision.weights).toEqual(plain.towers.vision.weights)
    }
  })

  test('that are there under two names are refused', async () => {
    const folder = await changed('hf-vit', {
      weights: (weights) =>
        weights.set('layers.0.attention.q_proj.weight', weights.get('encoder.layer.0.attention.attention.query.weight')!),
    })
    expect(await refusal(folder)).toContain('are the same weight')
  })

  test('of a module that is known not to matter may be there or not', async () => {
    const folder = await changed('hf-vit', {
      weights: (weights) => {
        weights.delete('pooler.dense.weight')
        weights.delete('pooler.dense.bias')
      },
    })
    expect((await describeModel(folder)).layout).toBe('hf-vit')
  })

  test('hold the temperature, or the model is refused', async () => {
    const folder = await changed('hf-clip', { weights: (weights) => weights.delete('logit_scale') })
    expect(await refusal(folder)).toContain('"logit_scale" [] is missing')
  })
})

describe('configurations', () => {
  const with_ = (values: Json) => (json: Json) => ({ ...json, ...values })
  const withArgs = (values: Json) => (json: Json) => ({ ...json, model_args: { ...(json.model_args as Json), ...values } })
  const withVision = (values: Json) => (json: Json) => {
    const model = json.model_cfg as Json
    return { ...json, model_cfg: { ...model, vision_cfg: { ...(model.vision_cfg as Json), ...values } } }
  }
  const openClip = 'open_clip_config.json'

  test.each([
    ['hf-vit', with_({ hidden_act: 'mish' }), /MODEL_UNSUPPORTED.*activation function "mish"/],
    ['hf-vit', with_({ num_attention_heads: 3 }), /FILE_INVALID.*num_attention_heads \(3\) does not divide the width 16/],
    ['hf-vit', with_({ hidden_size: '16', layer_norm_eps: -1 }), /hidden_size is "16"; expected a whole number.*layer_norm_eps is -1/],
    ['hf-vit', with_({ num_hidden_layers: 1e9 }), /num_hidden_layers is 1000000000; expected a whole number from 1 to 512/],
    ['hf-vit', with_({ patch_size: 16 }), /FILE_INVALID.*patches of 16 x 16, larger than its images of 12 x 12/],
    [
      'hf-clip',
      (json: Json) => ({ ...json, text_config: { ...(json.text_config as Json), max_position_embeddings: 1e5 } }),
      /max_position_embeddings is 100000/,
    ],
    ['hf-vit', with_({ model_type: 'siglip' }), /MODEL_UNSUPPORTED: The model type "siglip" is not supported. Supported: CLIPModel/],
    ['hf-dinov2', with_({ use_swiglu_ffn: true }), /MODEL_UNSUPPORTED.*use_swiglu_ffn = true/],
    ['hf-dinov2', with_({ image_size: [12, 16] }), /not square/],
    ['timm-token', with_({ architecture: 'resnet50' }), /MODEL_UNSUPPORTED.*the timm architecture "resnet50"/],
    ['timm-token', with_({ architecture: 'constructor' }), /the timm architecture "constructor"/],
    ['timm-token', with_({ architecture: 'vit_base_patch16_siglip_224' }), /WEIGHTS_MISMATCH|global_pool|class_token/],
    ['timm-token', withArgs({ qk_norm: true, act_layer: 'mish' }), /activation function "mish".*qk_norm = true|qk_norm = true.*"mish"/],
    ['timm-token', withArgs({ global_pool: 'map' }), /global_pool = "map"/],
    ['timm-token', withArgs({ rope: true }), /the field rope = true/],
    ['vit-prisma', with_({ use_bert_block: true }), /use_bert_block = true/],
    ['vit-prisma', with_({ normalization_type: 'RMS' }), /normalization_type = "RMS"/],
    ['vit-prisma', with_({ is_video_transformer: true }), /is_video_transformer = true/],
    ['vit-prisma', with_({ new_trick: 1 }), /the field new_trick = 1/],
    ['toy', with_({ num_heads: undefined }), /num_heads is missing/],
    ['toy', () => undefined, /num_heads is missing/],
    ['toy', with_({ activation_name: 'LeakyReLU' }), /activation function "LeakyReLU"/],
    ['toy', with_({ global_pool: true }), /global_pool = true/],
  ] as const)('of %s that the engine cannot compute are refused (%#)', async (name, config, message) => {
    expect(await refusal(await changed(name, { config: config as (json: Json) => Json }))).toMatch(message)
  })

  test.each([
    [withVision({ attentional_pool: true }), /vision_cfg.attentional_pool = true/],
    [withVision({ timm_model_name: 'vit_base_patch16_siglip_224' }), /a timm image tower/],
    [withVision({ layers: [3, 4, 6, 3] }), /a ResNet image tower/],
    [withVision({ qk_norm: true }), /vision_cfg.qk_norm = true/],
    [withVision({ unheard_of: 1 }), /the field model_cfg.vision_cfg.unheard_of = 1/],
    [(json: Json) => ({ ...json, model_cfg: { ...(json.model_cfg as Json), multimodal_cfg: { width: 1 } } }), /multimodal_cfg/],
  ])('of open_clip likewise (%#)', async (config, message) => {
    expect(await refusal(await changed('open-clip', { config, file: openClip }))).toMatch(message)
  })

  test('that say nothing get the library\u2019s defaults, which then have to fit', async () => {
    const message = await refusal(await changed('hf-vit', { config: () => ({ model_type: 'vit' }) }))
    expect(message).toMatch(/WEIGHTS_MISMATCH.*"embeddings.cls_token" has shape \[1, 1, 16\]; expected \[1, 1, 768\]/)
  })

  test('that are not JSON are refused without quoting them', async () => {
    const folder = await changed('hf-vit', {})
    fs.writeFileSync(path.join(folder, 'config.json'), 'secret: 1')
    expect(await refusal(folder)).toBe('FILE_INVALID: config.json: is not JSON.')
  })

  test('of another picture size than preprocessing makes are refused', async () => {
    const folder = await changed('hf-vit', {})
    const processor = { image_processor_type: 'ViTImageProcessor', size: { height: 16, width: 16 } }
    fs.writeFileSync(path.join(folder, 'preprocessor_config.json'), JSON.stringify(processor))
    expect(await refusal(folder)).toContain('preprocessor_config.json: makes pictures of 16 x 16; the model takes 12 x 12')
  })
})

describe('what is read', () => {
  test('class names, by index', async () => {
    expect((await describeModel(folderOf('hf-vit-classifier'))).classLabels).toEqual(['ant', 'bee', 'cat'])
    expect((await describeModel(folderOf('hf-vit'))).classLabels).toBeUndefined()
  })

  test('heads, epsilon and activation from the model\u2019s own files', async () => {
    const configs = await Promise.all(
      ['hf-clip', 'open-clip', 'open-clip-custom', 'timm-quickgelu', 'vit-prisma'].map(
        async (name) => (await describeModel(folderOf(name))).vision.config,
      ),
    )
    expect(configs.map(({ nHeads, dHead, normEps, activation }) => [nHeads, dHead, normEps, activation])).toEqual([
      [4, 4, 1e-5, 'quick_gelu'],
      [2, 8, 1e-5, 'quick_gelu'],
      [4, 4, 1e-3, 'gelu_new'],
      [2, 8, 1e-5, 'quick_gelu'],
      [3, 8, 1e-6, 'gelu'],
    ])
  })

  test('the number of parameters', async () => {
    const { vision } = await describeModel(folderOf('hf-vit'))
    const opened = await openWeightFolder(folderOf('hf-vit'))
    await opened.close()
    const counted = [...opened.entries]
      .filter(([name]) => !name.startsWith('pooler'))
      .map(([, { shape }]) => shape.reduce((a, b) => a * b, 1))
    expect(vision.nParameters).toBe(counted.reduce((a, b) => a + b, 0))
  })

  test('a description survives JSON, as the catalog stores it', async () => {
    for (const name of fixtureNames) {
      const description = await describeModel(folderOf(name))
      expect(JSON.parse(JSON.stringify(description))).toEqual(description)
    }
  })

  test('open_clip\u2019s own files first, where a folder has transformers\u2019 too', async () => {
    const folder = await changed('open-clip', {})
    for (const file of ['config.json', 'model.safetensors']) fs.copyFileSync(path.join(folderOf('hf-clip'), file), path.join(folder, file))
    expect((await describeModel(folder)).layout).toBe('open-clip')
    fs.rmSync(path.join(folder, 'open_clip_pytorch_model.bin'))
    fs.copyFileSync(path.join(folderOf('hf-clip'), 'preprocessor_config.json'), path.join(folder, 'preprocessor_config.json'))
    expect((await describeModel(folder)).layout).toBe('hf-clip')
  })

  test('a vision tower alone, where the text tower is another library\u2019s', async () => {
    const folder = await changed('open-clip-custom', {
      file: 'open_clip_config.json',
      config: (json) => ({
        ...json,
        model_cfg: { ...(json.model_cfg as Json), text_cfg: { hf_model_name: 'xlm-roberta-base', hf_proj_type: 'mlp' } },
      }),
    })
    const { description, towers, tokenizer } = await loadModel(folder)
    expect([description.text, towers.text, tokenizer]).toEqual([undefined, undefined, undefined])
    expect(description.logitScale).toBeDefined()
  })

  test('texts are refused where open_clip would use another tokenizer', async () => {
    const folder = await changed('open-clip', {
      file: 'open_clip_config.json',
      config: (json) => {
        const model = json.model_cfg as Json
        return { ...json, model_cfg: { ...model, text_cfg: { ...(model.text_cfg as Json), tokenizer_kwargs: { clean: 'canonicalize' } } } }
      },
    })
    const { tokenizer, towers } = await loadModel(folder)
    expect(towers.text).toBeDefined()
    expect(() => tokenizer!.encode(['a cat'])).toThrow(/TEXT_INVALID|asks for a tokenizer/)
  })

  test('half-precision weights, to within half precision', async () => {
    const full = await loadModel(folderOf('hf-vit'))
    const folder = await changed('hf-vit', { weights: () => {} })
    const file = path.join(folder, 'model.safetensors')
    fs.writeFileSync(file, toBfloat16(fs.readFileSync(file)))
    const half = await loadModel(folder)
    for (const [name, weight] of Object.entries(full.towers.vision.weights)) {
      expect(relativeDifference(half.towers.vision.weights[name]!, weight)).toBeLessThan(2 ** -7)
    }
  })

  test('each tensor only while nobody cancels', async () => {
    const abort = new AbortController()
    abort.abort(new Error('enough'))
    await expect(loadModel(folderOf('hf-vit'), { signal: abort.signal })).rejects.toThrow('enough')
  })
})

test('every architecture of timm is either understood or refused by name', async () => {
  const outcomes = { read: 0, refused: 0 }
  for (const architecture of Object.keys(timmArchitectures)) {
    const folder = await changed('timm-token', { config: () => ({ architecture, pretrained_cfg: { input_size: [3, 224, 224] } }) })
    const message = await refusal(folder) // the weights never fit
    if (message.startsWith('WEIGHTS_MISMATCH')) outcomes.read++
    else if (message.startsWith('MODEL_UNSUPPORTED')) outcomes.refused++
    else expect(message).toBe('understood or refused')
  }
  expect(outcomes.read).toBeGreaterThan(90)
  expect(outcomes.read + outcomes.refused).toBe(Object.keys(timmArchitectures).length)
})

/** The same safetensors file with every F32 tensor cut to BF16. */
function toBfloat16(file: Buffer): Buffer {
  const headerLength = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.subarray(8, 8 + headerLength).toString()) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >
  const data = file.subarray(8 + headerLength)
  const half = Buffer.alloc(data.length / 2)
  for (let i = 0; i < half.length / 2; i++) half.writeUInt16LE(data.readUInt16LE(4 * i + 2), 2 * i)
  for (const entry of Object.values(header)) {
    if (!entry.data_offsets) continue
    entry.dtype = 'BF16'
    entry.data_offsets = [entry.data_offsets[0] / 2, entry.data_offsets[1] / 2]
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, half])
}

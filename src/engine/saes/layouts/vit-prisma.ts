/**
 * ViT-Prisma: `config.json` and `weights.pt`, or `n_images_<n>.pt`. The weights are a plain state dict, a dictionary with the pickled
 * configuration and the state dict, or SAELens 2's dictionary.
 * @see vit_prisma sae/config.py (VisionModelSAERunnerConfig), sae/sae.py (StandardSparseAutoencoder, GatedSparseAutoencoder, Transcoder)
 */

import type { PlainData } from '../../io/pickle-values.js'
import type { SaeActivation, SaeConfig, TranscoderConfig } from '../sae.js'
import type { SaeFiles, SaeLayout, SaeOverrides, SaeReading, SavedConfig } from './layout.js'
import { SavedFields } from './saved-fields.js'
import { nameMap, writeVitPrisma } from './vit-prisma-write.js'

const CONFIG = 'config.json'
const supported = 'Standard SAEs (ReLU, tanh-ReLU, top-k), gated ones, and transcoders are.'
/** Of SAELens 2's dictionary. */
const LEGACY_PREFIX = 'autoencoder.state_dict.'

export const vitPrisma: SaeLayout = {
  name: 'vit-prisma',
  weightsFile: (present) => (present.includes('weights.pt') ? 'weights.pt' : mostImages(present)),
  configFiles: [CONFIG],
  read,
  sparsityFile: (present, weightsFile) => {
    const beside = weightsFile.replace(/\.pt$/, '_log_feature_sparsity.pt')
    const file = present.includes(beside) ? beside : present.find((name) => /log_feature_sparsity\.pt$/.test(name))
    return file === undefined ? undefined : { file }
  },
  write: writeVitPrisma,
}

/** A run's checkpoints are named after how many images they have seen. */
function mostImages(present: readonly string[]): string | undefined {
  const seen = (name: string) => Number(/^n_images_(\d+)\.pt$/.exec(name)?.[1] ?? -1)
  return present.filter((name) => seen(name) >= 0).sort((a, b) => seen(b) - seen(a))[0]
}

type Shape = readonly number[]

function read(files: SaeFiles, overrides: SaeOverrides): SaeReading {
  const { fields, form, tensors, prefix } = savedConfig(files)
  const shapeOf = (name: string): Shape | undefined => tensors.get(name)?.shape
  const [W_enc, W_dec] = ['W_enc', 'W_dec'].map((name) => {
    const shape = shapeOf(name)
    if (shape?.length !== 2) fields.invalid(name, shape ? `has shape [${shape}]; expected two axes` : 'is not among the weights')
    return shape?.length === 2 ? shape : [1, 1]
  }) as [Shape, Shape]
  const sizes = { dIn: W_enc[0]!, dSae: W_enc[1]!, dOut: W_dec[1]! }
  fields.mustBe('d_in', sizes.dIn, 'W_enc')
  const expansion = fields.raw('expansion_factor')
  if (typeof expansion === 'number' && Math.round(sizes.dIn * expansion) !== sizes.dSae) {
    fields.invalid('expansion_factor', `is ${expansion} with ${sizes.dIn} inputs, and W_enc says ${sizes.dSae} latents`)
  }
  const isGated = readArchitecture(fields, tensors.has('r_mag') || tensors.has('b_gate'), tensors.has('b_dec_out'))
  const transcoder = tensors.has('b_dec_out') ? readTranscoder(fields, tensors.has('W_skip'), overrides) : undefined
  const config: SaeConfig = {
    ...readActivation(fields, isGated, overrides),
    ...sizes,
    normalization: overrides.normalization ?? readNormalization(fields, form),
    subtractsDecoderBias: true,
    hookPoint: overrides.hookPoint ?? readHookPoint(fields),
    ...readHead(fields, overrides),
    ...(transcoder && { transcoder }),
  }
  notePrecision(fields)
  fields.check(supported)
  return {
    form,
    config,
    rules: nameMap(config).map((name) => ({ source: prefix + name, shape: shapes(config)[name]!, to: name })),
    // A gated state dict carries the standard encoder's bias, which nothing reads; SAELens 2's a finetuning factor.
    ignored: [...(isGated ? ['b_enc'] : []), ...(form === 'SAELens 2' ? ['scaling_factor'] : [])].map((name) => prefix + name),
    resolvedBy: fields.resolutions,
    training: readTraining(fields),
    saved: fields.saved,
  }
}

function shapes({ dIn, dOut, dSae }: SaeConfig): Readonly<Record<string, Shape>> {
  const latents = [dSae]
  return {
    W_skip: [dOut, dIn],
    W_dec: [dSae, dOut],
    W_enc: [dIn, dSae],
    b_enc: latents,
    b_gate: latents,
    r_mag: latents,
    b_mag: latents,
    b_dec: [dIn],
    b_dec_out: [dOut],
  }
}

/** The configuration that counts, of those there are. */
function savedConfig({ json, weightsFile, tensors, besides }: SaeFiles) {
  const beside = json.get(CONFIG)
  const isLegacy = tensors.size > 0 && [...tensors.keys()].every((name) => name.startsWith(LEGACY_PREFIX))
  const pickled = isLegacy ? (pickledConfig(besides.config) ?? nested(besides, 'config.')) : pickledConfig(besides.cfg)
  const form = isLegacy ? 'SAELens 2' : pickled ? 'with configuration' : 'plain'
  const saved = beside && pickled ? { ...unwrapped(pickled), ...unwrapped(beside) } : unwrapped(beside ?? pickled ?? {})
  const fields = new SavedFields(beside ? CONFIG : weightsFile, saved)
  if (!beside && !pickled) {
    fields.invalid(CONFIG, 'is missing, and the weights carry no configuration')
  }
  if (beside && pickled) noteDisagreement(fields, unwrapped(beside), unwrapped(pickled))
  const prefix = isLegacy ? LEGACY_PREFIX : ''
  return { fields, form, prefix, tensors: new Map([...tensors].map(([name, tensor]) => [name.slice(prefix.length), tensor])) }
}

const numeric = ['architecture', 'activation_fn_str', 'activation_fn_kwargs', 'normalize_activations', 'is_transcoder', 'd_in']
const placing = ['hook_point_layer', 'layer_subtype', 'hook_point_head_index', 'out_hook_point_layer', 'layer_out_subtype']

function noteDisagreement(fields: SavedFields, beside: SavedConfig, pickled: SavedConfig): void {
  const differs = (key: string) => key in beside && key in pickled && JSON.stringify(beside[key]) !== JSON.stringify(pickled[key])
  const odd = [...numeric, ...placing].filter(differs)
  const absent = [...numeric, ...placing].filter((key) => !(key in beside) && key in pickled)
  if (odd.length > 0) fields.resolve(odd.join(', '), `${CONFIG} and the configuration in the weights differ; ${CONFIG} counts`)
  if (absent.length > 0) fields.resolve(absent.join(', '), `missing in ${CONFIG}; taken from the configuration in the weights`)
}

/** A pickled object's attributes, or a dictionary. */
function pickledConfig(value: PlainData | undefined): SavedConfig | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const record = value as SavedConfig
  const { state } = record
  return typeof record.class === 'string' && typeof state === 'object' && state !== null ? (state as SavedConfig) : record
}

/** A dictionary beside the tensors of another comes flattened, its keys joined by dots. */
function nested(besides: SavedConfig, prefix: string): SavedConfig | undefined {
  const own = Object.entries(besides).filter(([key]) => key.startsWith(prefix))
  return own.length === 0 ? undefined : Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value]))
}

/** Old files wrote a device or a dtype as `{ "__type__": ..., "value": ... }`. */
function unwrapped(saved: SavedConfig): SavedConfig {
  const unwrap = (value: PlainData): PlainData => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
    const object = value as SavedConfig
    return '__type__' in object && 'value' in object ? object.value! : value
  }
  return Object.fromEntries(Object.entries(saved).map(([key, value]) => [key, unwrap(value)]))
}

/** @returns whether it is gated */
function readArchitecture(fields: SavedFields, looksGated: boolean, looksLikeTranscoder: boolean): boolean {
  const name = fields.text('architecture')
  if (fields.flag('is_transcoder') === true && !looksLikeTranscoder) {
    fields.invalid('is_transcoder', 'is true, and the weights have no b_dec_out')
  }
  if (looksLikeTranscoder) {
    if (fields.flag('is_transcoder') !== true)
      fields.resolve('is_transcoder', 'not true; the weights have a b_dec_out, so it is a transcoder')
    return false // whatever the architecture says, the library builds a transcoder
  }
  if (name === undefined) {
    fields.resolve('architecture', `missing; by the weights' names ${looksGated ? 'gated' : 'standard'}`)
    return looksGated
  }
  if (name !== 'standard' && name !== 'vanilla' && name !== 'gated') fields.unsupported(`the architecture "${name}"`)
  else if ((name === 'gated') !== looksGated) {
    fields.invalid('architecture', `is "${name}", and the weights ${looksGated ? 'have' : 'lack'} the gate's parameters`)
  }
  return looksGated
}

const activationNames: Readonly<Record<string, SaeActivation>> = { relu: 'relu', 'tanh-relu': 'tanh-relu', topk: 'topk' }

function readActivation(
  fields: SavedFields,
  isGated: boolean,
  overrides: SaeOverrides,
): Pick<SaeConfig, 'architecture' | 'activation'> & { k?: number } {
  const kwargs = fields.section('activation_fn_kwargs')
  const savedK = overrides.k ?? kwargs.k
  const named = fields.text('activation_fn_str')
  if (named === undefined && overrides.activation === undefined) {
    // The field came with top-k; before it every SAE had a ReLU.
    fields.resolve(
      'activation_fn_str',
      savedK === undefined ? 'missing; relu, which is all there was before the field' : 'missing; a k says topk',
    )
  }
  const known = named !== undefined && Object.hasOwn(activationNames, named) ? activationNames[named] : undefined
  if (named !== undefined && known === undefined) fields.unsupported(`the activation function "${named}"`)
  const activation = overrides.activation ?? known ?? (savedK === undefined ? 'relu' : 'topk')
  const isTopK = activation === 'topk'
  if (isTopK && !(typeof savedK === 'number' && Number.isInteger(savedK) && savedK > 0)) {
    fields.invalid('activation_fn_kwargs', `has k = ${JSON.stringify(savedK) ?? 'nothing'}; topk needs a whole number`)
  }
  const architecture = isGated ? 'gated' : isTopK ? 'topk' : 'standard'
  return { architecture, activation, ...(isTopK && { k: typeof savedK === 'number' ? savedK : 1 }) }
}

function readNormalization(fields: SavedFields, form: string): SaeConfig['normalization'] {
  const name = fields.text('normalize_activations')
  if (name === 'layer_norm' || name === 'constant_norm_rescale') return name
  if (fields.has('normalize_activations')) {
    if (name !== undefined && name !== 'none') {
      fields.resolve('normalize_activations', `"${name}" is the identity in ViT-Prisma, as is every name it does not know`)
    }
    return 'none'
  }
  const why = form === 'SAELens 2' ? 'SAELens 2 had no normalisation' : 'the library writes every field it has, so it had none then'
  fields.resolve('normalize_activations', `missing; none: ${why} (ViT-Prisma today would assume layer_norm)`)
  return 'none'
}

function readHookPoint(fields: SavedFields): string {
  const layer = fields.index('hook_point_layer')
  const subtype = fields.text('layer_subtype')
  if (layer !== undefined && subtype !== undefined) return `blocks.${layer}.${subtype}`
  const whole = fields.text('hook_point')
  if (whole !== undefined) {
    fields.resolve('layer_subtype', `missing; hook_point says "${whole}"`)
    return whole
  }
  // Its default has been three different hook points.
  const missing = layer === undefined ? 'hook_point_layer' : 'layer_subtype'
  fields.invalid(missing, 'is missing, and there is no hook_point; say which hook point the SAE belongs to')
  return 'unknown'
}

function readHead(fields: SavedFields, { headIndex }: SaeOverrides): { headIndex?: number } {
  const head = headIndex ?? fields.index('hook_point_head_index')
  return head === undefined ? {} : { headIndex: head }
}

function readTranscoder(fields: SavedFields, hasSkip: boolean, { hookPointOut, skip }: SaeOverrides): TranscoderConfig {
  const said = fields.flag('transcoder_with_skip_connection')
  if (said !== undefined && said !== hasSkip) {
    fields.invalid('transcoder_with_skip_connection', `is ${said}, and the weights ${hasSkip ? 'have a' : 'lack the'} W_skip`)
  }
  if (hasSkip && skip === undefined) {
    fields.resolve('W_skip', "x W_skip', the library's formula; a branch of it had x (I + W_skip'), which the files do not tell apart")
  }
  if (skip !== undefined && (skip === 'none') === hasSkip) {
    fields.invalid('skip', `is asked to be "${skip}", and the weights ${hasSkip ? 'have a' : 'lack the'} W_skip`)
  }
  return { hookPointOut: hookPointOut ?? readHookPointOut(fields), skip: hasSkip ? (skip ?? 'linear') : 'none', denormalizes: true }
}

function readHookPointOut(fields: SavedFields): string {
  const layer = fields.index('out_hook_point_layer')
  const subtype = fields.text('layer_out_subtype')
  if (layer !== undefined && subtype !== undefined) return `blocks.${layer}.${subtype}`
  const whole = fields.text('out_hook_point')
  if (whole !== undefined) return whole
  fields.invalid('out_hook_point_layer', 'or layer_out_subtype is missing; say which hook point the transcoder predicts')
  return 'unknown'
}

function notePrecision(fields: SavedFields): void {
  const dtype = fields.raw('_dtype') ?? fields.raw('dtype')
  if (typeof dtype === 'string' && !/float32$/.test(dtype)) fields.resolve('_dtype', `${dtype}; computed in float32 here`)
}

function readTraining(fields: SavedFields): SaeReading['training'] {
  const modelName = fields.raw('model_name')
  const datasetName = fields.raw('dataset_name')
  const l1Coefficient = fields.raw('l1_coefficient')
  const isCls = fields.raw('cls_token_only')
  const isPatches = fields.raw('use_patches_only')
  const positions = isCls === true ? 'cls' : isPatches === true ? 'patches' : isCls === false && isPatches === false ? 'all' : undefined
  return {
    ...(typeof modelName === 'string' && { modelName }),
    ...(typeof datasetName === 'string' && { datasetName }),
    ...(typeof l1Coefficient === 'number' && { l1Coefficient }),
    ...(positions && { positions }),
  }
}

/**
 * SAELens: `cfg.json` and `sae_weights.safetensors`, of version 6 and of those before.
 * @see sae_lens saes/*.py (configurations and parameters), loading/pretrained_sae_loaders.py (handle_pre_6_0_config)
 */

import { foldDecoderNorms, scaleDecoderRows } from '../fold.js'
import type { InputNormalization, SaeConfig } from '../sae.js'
import type { SaeFiles, SaeLayout, SaeOverrides, SaeReading, SavedConfig, WeightRule, Weights } from './layout.js'
import { SAE_LENS_CONFIG, SAE_LENS_WEIGHTS, writeSaeLens } from './sae-lens-write.js'
import { SavedFields } from './saved-fields.js'

const CONFIG = SAE_LENS_CONFIG
const supported =
  'standard, topk, gated, jumprelu, batchtopk, matryoshka_batchtopk, transcoder, skip_transcoder, jumprelu_transcoder and jumprelu_skip_transcoder are.'

export const saeLens: SaeLayout = {
  name: 'sae-lens',
  weightsFile: (present) => (present.includes(SAE_LENS_WEIGHTS) ? SAE_LENS_WEIGHTS : undefined),
  configFiles: [CONFIG],
  read,
  sparsityFile: (present) => (present.includes('sparsity.safetensors') ? { file: 'sparsity.safetensors', tensor: 'sparsity' } : undefined),
  write: writeSaeLens,
}

type Kind = Pick<SaeConfig, 'architecture' | 'activation'> & { readonly isTranscoder?: true; readonly hasSkip?: true }

const kinds: Readonly<Record<string, Kind>> = {
  standard: { architecture: 'standard', activation: 'relu' },
  topk: { architecture: 'topk', activation: 'topk' },
  batchtopk: { architecture: 'batch-topk', activation: 'batch-topk' },
  matryoshka_batchtopk: { architecture: 'matryoshka', activation: 'batch-topk' },
  gated: { architecture: 'gated', activation: 'relu' },
  jumprelu: { architecture: 'jumprelu', activation: 'relu' },
  transcoder: { architecture: 'standard', activation: 'relu', isTranscoder: true },
  skip_transcoder: { architecture: 'standard', activation: 'relu', isTranscoder: true, hasSkip: true },
  jumprelu_transcoder: { architecture: 'jumprelu', activation: 'relu', isTranscoder: true },
  jumprelu_skip_transcoder: { architecture: 'jumprelu', activation: 'relu', isTranscoder: true, hasSkip: true },
}

function read({ json, tensors }: SaeFiles, overrides: SaeOverrides): SaeReading {
  const saved = json.get(CONFIG)
  const fields = new SavedFields(CONFIG, modern(saved ?? {}))
  if (!saved) fields.invalid(CONFIG, 'is missing')
  const metadata = new SavedFields(CONFIG, { ...fields.saved, ...fields.section('metadata') })
  const kind = readKind(fields, tensors)
  const shape = tensors.get('W_enc')?.shape ?? []
  if (shape.length !== 2) fields.invalid('W_enc', 'with two axes is not among the weights')
  const [dIn = 1, dSae = 1] = shape
  const dOut = kind.isTranscoder ? (tensors.get('W_dec')?.shape[1] ?? 1) : dIn
  for (const [key, size] of Object.entries({ d_in: dIn, d_sae: dSae, ...(kind.isTranscoder && { d_out: dOut }) })) {
    fields.mustBe(key, size, 'the weights')
  }
  const { architecture, activation } = { ...kind, ...readOlderActivation(fields, kind, overrides) }
  const config: SaeConfig = {
    architecture,
    activation,
    ...readK(fields, activation, overrides),
    ...readWidths(fields, architecture, dSae),
    dIn,
    dOut,
    dSae,
    normalization: overrides.normalization ?? readNormalization(fields),
    subtractsDecoderBias: overrides.subtractsDecoderBias ?? readBiasSubtraction(fields, kind),
    hookPoint: overrides.hookPoint ?? readHook(metadata, fields, 'hook_name', 'the SAE belongs to'),
    ...readHeads(fields, metadata, overrides),
    ...(kind.isTranscoder && {
      transcoder: {
        hookPointOut: overrides.hookPointOut ?? readHook(metadata, fields, 'hook_name_out', 'the transcoder predicts'),
        skip: kind.hasSkip ? (overrides.skip ?? 'linear') : ('none' as const),
        denormalizes: false,
      },
    }),
  }
  const rewriting = readRewriting(fields, tensors, config)
  fields.check(supported)
  return {
    form: 'safetensors',
    config,
    rules: [...weightRules(config, rewriting), ...rewriting.extra],
    // A standard SAE's is all ones unless the configuration says that it was fitted.
    ignored: ['scaling_factor'],
    ...(rewriting.apply && { rewrite: rewriting.apply }),
    resolvedBy: fields.resolutions,
    training: readTraining(metadata),
    saved: saved ?? {},
  }
}

/** What version 6 made of older names. */
function modern(saved: SavedConfig): SavedConfig {
  const renamed: Readonly<Record<string, string>> = {
    hook_point: 'hook_name',
    hook_point_head_index: 'hook_head_index',
    activation_fn_str: 'activation_fn',
  }
  return Object.fromEntries(Object.entries(saved).map(([key, value]) => [renamed[key] ?? key, value]))
}

function readKind(fields: SavedFields, tensors: SaeFiles['tensors']): Kind {
  const name = fields.text('architecture')
  if (name !== undefined) {
    if (Object.hasOwn(kinds, name)) return kinds[name]!
    fields.unsupported(`the architecture "${name}"`)
    return kinds.standard!
  }
  const byWeights = tensors.has('r_mag') ? 'gated' : tensors.has('threshold') ? 'jumprelu' : 'standard'
  fields.resolve('architecture', `missing; by the weights' names ${byWeights}`)
  return kinds[byWeights]!
}

/** Before version 6 the activation function was a field of its own. */
function readOlderActivation(fields: SavedFields, kind: Kind, overrides: SaeOverrides): Partial<Kind> {
  if (overrides.activation !== undefined) return { activation: overrides.activation }
  const name = fields.text('activation_fn')
  if (name === undefined || name === 'relu') return {}
  if (name === 'topk' && kind.architecture === 'standard' && !kind.isTranscoder) {
    fields.resolve('architecture', `"${fields.text('architecture') ?? ''}" with activation_fn "topk" is topk, as SAELens 6 reads it`)
    return kinds.topk!
  }
  if (name === 'topk' && (kind.architecture === 'topk' || kind.architecture === 'gated')) return { activation: 'topk' }
  if (name === 'tanh-relu' && (kind.architecture === 'standard' || kind.architecture === 'gated')) return { activation: 'tanh-relu' }
  fields.unsupported(`the activation function "${name}" of a ${kind.architecture} SAE`)
  return {}
}

function readK(fields: SavedFields, activation: SaeConfig['activation'], overrides: SaeOverrides): { k?: number } {
  if (activation !== 'topk' && activation !== 'batch-topk') return {}
  const k = overrides.k ?? fields.raw('k') ?? fields.section('activation_fn_kwargs').k
  const isWhole = activation !== 'topk' || Number.isInteger(k)
  if (typeof k === 'number' && k > 0 && isWhole) return { k }
  fields.invalid('k', `is ${JSON.stringify(k) ?? 'missing'}; ${activation} needs a ${isWhole ? '' : 'whole '}number above 0`)
  return { k: 1 }
}

function readWidths(fields: SavedFields, architecture: SaeConfig['architecture'], dSae: number): { widths?: readonly number[] } {
  if (architecture !== 'matryoshka') return {}
  const widths = fields.raw('matryoshka_widths')
  const isList = Array.isArray(widths) && widths.length > 0 && widths.every((width) => Number.isInteger(width))
  if (!isList) {
    fields.invalid('matryoshka_widths', 'is not a list of whole numbers')
    return { widths: [dSae] }
  }
  const list = widths as unknown as number[]
  return { widths: list.at(-1) === dSae ? list : [...list, dSae] }
}

function readNormalization(fields: SavedFields): InputNormalization {
  const saved = fields.raw('normalize_activations')
  if (saved === undefined) {
    fields.resolve('normalize_activations', 'missing; none, as SAELens reads it')
    return 'none'
  }
  if (saved === null || saved === false || saved === 'none') return 'none'
  if (saved === 'layer_norm' || saved === 'constant_norm_rescale') return saved
  if (saved === true || saved === 'expected_average_only_in') {
    const rule = 'expected_average_only_in without its factor, which the files do not hold; none, as SAELens computes it'
    fields.resolve('normalize_activations', rule)
    return 'none'
  }
  fields.unsupported(`the normalisation ${JSON.stringify(saved)} that was not folded into the weights`)
  return 'none'
}

function readBiasSubtraction(fields: SavedFields, { isTranscoder }: Kind): boolean {
  if (isTranscoder) return false
  const saved = fields.flag('apply_b_dec_to_input')
  if (saved === undefined) fields.resolve('apply_b_dec_to_input', 'missing; true, as SAELens reads it')
  return saved ?? true
}

function readHook(metadata: SavedFields, fields: SavedFields, key: string, what: string): string {
  const name = metadata.raw(key)
  if (typeof name === 'string' && name !== '') return name
  fields.invalid(key, `is missing; say which hook point ${what}`)
  return 'unknown'
}

function readHeads(fields: SavedFields, metadata: SavedFields, overrides: SaeOverrides): Pick<SaeConfig, 'headIndex' | 'flattensHeads'> {
  const saved = metadata.raw('hook_head_index')
  const headIndex = overrides.headIndex ?? (typeof saved === 'number' ? saved : undefined)
  if (headIndex !== undefined) return { headIndex }
  const reshape = fields.text('reshape_activations')
  if (reshape === 'hook_z') return { flattensHeads: true }
  if (reshape !== undefined && reshape !== 'none') fields.unsupported(`reshape_activations = "${reshape}"`)
  const hookName = metadata.raw('hook_name')
  if (reshape === undefined && typeof hookName === 'string' && hookName.endsWith('hook_z')) {
    fields.resolve('reshape_activations', 'missing; hook_z, by the hook point, as SAELens reads it')
    return { flattensHeads: true }
  }
  return {}
}

interface Rewriting {
  readonly extra: readonly WeightRule[]
  readonly logThreshold: boolean
  readonly apply?: (weights: Weights, extra: Weights) => Weights
}

/** What older and training checkpoints store otherwise. */
function readRewriting(fields: SavedFields, tensors: SaeFiles['tensors'], { dSae, architecture }: SaeConfig): Rewriting {
  const steps: ((weights: Weights, extra: Weights) => Weights)[] = []
  const extra: WeightRule[] = []
  const logThreshold = architecture === 'jumprelu' && tensors.has('log_threshold') && !tensors.has('threshold')
  if (logThreshold) {
    fields.resolve('log_threshold', 'its exponential is the threshold')
    extra.push({ source: 'log_threshold', shape: [dSae] })
    steps.push((weights, { log_threshold }) => ({ ...weights, threshold: { ...log_threshold!, data: log_threshold!.data.map(Math.exp) } }))
  }
  if (fields.flag('finetuning_scaling_factor') === true && tensors.has('scaling_factor')) {
    fields.resolve('finetuning_scaling_factor', "the factors of the latents, folded into the decoder's rows")
    extra.push({ source: 'scaling_factor', shape: [dSae] })
    steps.push((weights, { scaling_factor }) => ({ ...weights, W_dec: scaleDecoderRows(weights.W_dec!, scaling_factor!) }))
  }
  if (fields.flag('rescale_acts_by_decoder_norm') === true) {
    fields.resolve('rescale_acts_by_decoder_norm', "the decoder's norms, folded into the encoder")
    steps.push(foldDecoderNorms)
  }
  return { extra, logThreshold, ...(steps.length > 0 && { apply: (weights, more) => steps.reduce((w, step) => step(w, more), weights) }) }
}

function weightRules({ dIn, dOut, dSae, architecture, activation, transcoder }: SaeConfig, { logThreshold }: Rewriting): WeightRule[] {
  const latents = (name: string): WeightRule => ({ source: name, shape: [dSae], to: name })
  return [
    { source: 'W_enc', shape: [dIn, dSae], to: 'W_enc' },
    { source: 'W_dec', shape: [dSae, dOut], to: 'W_dec' },
    // SAELens gives a transcoder one bias, of its output.
    { source: 'b_dec', shape: [dOut], to: transcoder ? 'b_dec_out' : 'b_dec' },
    ...(architecture === 'gated' ? [latents('b_gate'), latents('r_mag'), latents('b_mag')] : [latents('b_enc')]),
    ...(architecture === 'jumprelu' && !logThreshold ? [latents('threshold')] : []),
    ...(activation === 'batch-topk' ? [{ source: 'topk_threshold', shape: [], to: 'topk_threshold' }] : []),
    ...(transcoder && transcoder.skip !== 'none' ? [{ source: 'W_skip', shape: [dOut, dIn], to: 'W_skip' }] : []),
  ]
}

function readTraining(metadata: SavedFields): SaeReading['training'] {
  const texts = { modelName: 'model_name', datasetName: 'dataset_path', architecture: 'training_architecture' } as const
  const found = Object.entries(texts).map(([ours, theirs]) => [ours, metadata.raw(theirs)] as const)
  const positions = metadata.raw('positions')
  const l1Coefficient = metadata.raw('l1_coefficient')
  return {
    ...Object.fromEntries(found.filter(([, value]) => typeof value === 'string')),
    ...(typeof l1Coefficient === 'number' && { l1Coefficient }),
    ...(positions === 'all' || positions === 'cls' || positions === 'patches' ? { positions } : {}),
  }
}

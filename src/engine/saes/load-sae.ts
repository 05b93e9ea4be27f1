/**
 * From an SAE's folder to an SAE: which layout it is, what its configuration says, whether its weights fit, and the weights themselves.
 */

import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { EngineError } from '../errors.js'
import { openFileSource } from '../io/byte-source.js'
import { invalidFile } from '../io/refusals.js'
import { openTorchCheckpoint } from '../io/torch-checkpoint.js'
import { isTorchTensor } from '../io/torch-tensors.js'
import { openWeights, type WeightFile } from '../io/weight-file.js'
import { openWeightFolder } from '../io/weight-folder.js'
import { elementCount, type Tensor } from '../tensor.js'
import type {
  Resolution,
  SaeFiles,
  SaeLayout,
  SaeLayoutName,
  SaeOverrides,
  SaeReading,
  SaeTraining,
  SavedConfig,
  Weights,
} from './layouts/layout.js'
import { readSavedConfig } from './layouts/read-json.js'
import { saeLayouts } from './layouts/registry.js'
import { configProblems, type SaeConfig, saeParameters } from './sae.js'

export type { Resolution, SaeLayoutName, SaeOverrides, SaeTraining } from './layouts/layout.js'

/** Everything that can be said of an SAE without its weights in memory. Serialisable; the catalog stores it. */
export interface SaeDescription {
  readonly layout: SaeLayoutName
  /** How the weights are stored: `plain`, `with configuration`, `SAELens 2`, `safetensors`. */
  readonly form: string
  readonly files: { readonly weights: string; readonly config?: string; readonly logFeatureSparsity?: string }
  readonly config: SaeConfig
  readonly nParameters: number
  readonly training: SaeTraining
  /** What the files left open, contradicted themselves in, or said otherwise: what was decided, and why. */
  readonly resolvedBy: readonly Resolution[]
  /** What was known better than the files say, where something was; to be given again whenever they are loaded. */
  readonly overrides?: SaeOverrides
  /** The configuration as it was saved. */
  readonly saved: SavedConfig
}

export interface LoadedSae {
  readonly description: SaeDescription
  /** By the names of `saeParameters(description.config)`. */
  readonly weights: Weights
  /** log10 of how often each latent was active in training, `[dSae]`, where the folder has it. */
  readonly logFeatureSparsity?: Tensor<'float32'>
}

export interface LoadSaeOptions {
  /** What is known better than the files say; each is recorded in `resolvedBy`. */
  readonly overrides?: SaeOverrides
  /** Checked between tensors. */
  readonly signal?: AbortSignal
}

/**
 * Reads configurations and the headers of the weights.
 * @throws FILE_INVALID, FILE_UNSAFE, MODEL_UNSUPPORTED, WEIGHTS_MISMATCH
 */
export async function describeSae(folder: string, { overrides = {} }: LoadSaeOptions = {}): Promise<SaeDescription> {
  const opened = await open(folder, overrides)
  await opened.file.close()
  return opened.description
}

/**
 * Reads an SAE, one tensor at a time, as float32.
 * @throws FILE_INVALID, FILE_UNSAFE, MODEL_UNSUPPORTED, WEIGHTS_MISMATCH; what `signal` says
 */
export async function loadSae(folder: string, { overrides = {}, signal }: LoadSaeOptions = {}): Promise<LoadedSae> {
  const { file, reading, description, sparsity } = await open(folder, overrides)
  try {
    const weights: Record<string, Tensor<'float32'>> = {}
    const extra: Record<string, Tensor<'float32'>> = {}
    for (const { source, to } of reading.rules) {
      signal?.throwIfAborted()
      const tensor = asFloat32(await file.read(source))
      if (to === undefined) extra[source] = tensor
      else weights[to] = tensor
    }
    const logFeatureSparsity = sparsity && (await readSparsity(folder, sparsity, description.config.dSae))
    return {
      description,
      weights: reading.rewrite ? reading.rewrite(weights, extra) : weights,
      ...(logFeatureSparsity && { logFeatureSparsity }),
    }
  } finally {
    await file.close()
  }
}

interface OpenedSae {
  readonly file: WeightFile
  readonly reading: SaeReading
  readonly description: SaeDescription
  readonly sparsity?: { readonly file: string; readonly tensor?: string }
}

async function open(folder: string, overrides: SaeOverrides): Promise<OpenedSae> {
  const present = await listFolder(folder)
  const { layout, weightsFile } = findLayout(folder, present)
  const json = new Map<string, SavedConfig>()
  for (const name of layout.configFiles) {
    if (present.includes(name)) json.set(name, await readSavedConfig(path.join(folder, name), name))
  }
  // A pickled configuration is read as an inert record.
  const file = await openWeightFolder(folder, [weightsFile], { opaqueGlobals: true })
  try {
    const reading = layout.read({ json, weightsFile, tensors: file.entries, besides: file.metadata } satisfies SaeFiles, overrides)
    requireFit(layout.name, file, reading)
    requireSound(weightsFile, reading)
    const sparsity = layout.sparsityFile(present, weightsFile)
    const config = [...json.keys()][0]
    const parameters = Object.values(saeParameters(reading.config))
    const description: SaeDescription = {
      layout: layout.name,
      form: reading.form,
      files: { weights: weightsFile, ...(config !== undefined && { config }), ...(sparsity && { logFeatureSparsity: sparsity.file }) },
      config: reading.config,
      nParameters: parameters.reduce((sum, shape) => sum + elementCount(shape), 0),
      training: reading.training,
      resolvedBy: [...reading.resolvedBy, ...Object.keys(overrides).map((field) => ({ field, rule: 'given by whoever loaded it' }))],
      ...(Object.keys(overrides).length > 0 && { overrides }),
      saved: reading.saved,
    }
    return { file, reading, description, ...(sparsity && { sparsity }) }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function listFolder(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    throw invalidFile(path.basename(folder), `cannot be listed (${(error as NodeJS.ErrnoException).code ?? String(error)}).`)
  }
}

function findLayout(folder: string, present: readonly string[]): { layout: SaeLayout; weightsFile: string } {
  for (const layout of Object.values(saeLayouts)) {
    const weightsFile = layout.weightsFile(present)
    if (weightsFile !== undefined) return { layout, weightsFile }
  }
  throw new EngineError('MODEL_UNSUPPORTED', {
    what: `An SAE in the folder "${path.basename(folder)}"`,
    supported:
      'Expected weights.pt or n_images_<n>.pt with config.json (ViT-Prisma), sae_weights.safetensors with cfg.json (SAELens), or sae.safetensors with sae.json.',
  })
}

const floating = new Set(['float64', 'float32', 'float16', 'bfloat16'])

/** @throws WEIGHTS_MISMATCH with every missing, extra and mis-shaped weight */
function requireFit(layout: SaeLayoutName, { entries }: WeightFile, { rules, ignored }: SaeReading): void {
  const problems: string[] = []
  for (const { source, shape } of rules) {
    const stored = entries.get(source)
    if (!stored) problems.push(`"${source}" [${shape.join(', ')}] is missing`)
    else if (!floating.has(stored.dtype)) problems.push(`"${source}" holds ${stored.dtype}; expected floating-point numbers`)
    else if (stored.shape.join() !== shape.join()) {
      problems.push(`"${source}" has shape [${stored.shape.join(', ')}]; expected [${shape.join(', ')}]`)
    }
  }
  const known = new Set([...rules.map(({ source }) => source), ...ignored])
  for (const [name, { shape }] of entries) {
    if (!known.has(name)) problems.push(`"${name}" [${shape.join(', ')}] is not a weight of this SAE`)
  }
  if (problems.length > 0) throw new EngineError('WEIGHTS_MISMATCH', { layout, problems })
}

/** What the configuration says must make an SAE: k at most dSae, widths that ascend, ... */
function requireSound(file: string, { config }: SaeReading): void {
  const problems = configProblems(config)
  if (problems.length > 0) throw invalidFile(file, `${problems.map(({ path: field, message }) => `${field} ${message}`).join('; ')}.`)
}

async function readSparsity(folder: string, { file, tensor }: { file: string; tensor?: string }, dSae: number): Promise<Tensor<'float32'>> {
  const source = await openFileSource(path.join(folder, file), file)
  try {
    const read = asFloat32(tensor === undefined ? await readBareTensor(source, file) : await readNamed(source, file, tensor))
    if (read.shape.join() === String(dSae)) return read
    throw new EngineError('SHAPE_MISMATCH', { what: file, expected: [dSae], actual: read.shape })
  } finally {
    await source.close()
  }
}

type Source = Awaited<ReturnType<typeof openFileSource>>

async function readNamed(source: Source, file: string, tensor: string): Promise<Tensor> {
  return (await openWeights({ size: source.size, read: source.read }, file)).read(tensor)
}

/** `torch.save(tensor)`, or a dictionary with one. */
async function readBareTensor(source: Source, file: string): Promise<Tensor> {
  const { root, read } = await openTorchCheckpoint(source, file)
  const candidates = root instanceof Map ? [...root.values()] : [root]
  const [only] = candidates
  if (candidates.length !== 1 || !isTorchTensor(only)) throw invalidFile(file, 'does not hold one tensor.')
  return read(only, 'log_feature_sparsity')
}

function asFloat32(tensor: Tensor): Tensor<'float32'> {
  if (tensor.dtype === 'float32') return tensor as Tensor<'float32'>
  return { dtype: 'float32', shape: tensor.shape, data: Float32Array.from(tensor.data as Float64Array) }
}

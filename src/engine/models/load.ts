/**
 * From a model's folder to a model: which layout it is, what its configuration says, whether its weights fit, and the weights themselves.
 */

import { readdir } from 'node:fs/promises'
import { EngineError } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import { hookPointsOf, nPatches, outputAxes, shapeOfAxes } from '../hook-points.js'
import type { Preprocessing } from '../image/preprocessing.js'
import { type Library, readPreprocessing } from '../image/read-preprocessing.js'
import type { WeightFile } from '../io/weight-file.js'
import { openWeightFolder, weightFileNames } from '../io/weight-folder.js'
import { elementCount, type Tensor } from '../tensor.js'
import { type JsonObject, readJsonFile } from './json-file.js'
import type { CheckpointFiles, CheckpointReading } from './layouts/layout.js'
import { detectLayout } from './layouts/registry.js'
import type { ModelDescription, TextConfig, TowerDescription, VisionConfig, WeightProcessing } from './model.js'
import { asFloat32, canonicalNames, type PlannedWeight, planWeights, readPlanned } from './name-map.js'
import { textGraph } from './text-tower.js'
import { type ClipTokenizer, loadTokenizer, refusingTokenizer } from './tokenizer.js'
import { visionGraph } from './vit.js'
import { inProcessingOrder, processConfig, processWeights } from './weight-processing.js'

export interface LoadedTower {
  /** A graph of the tower with these optional hook points built; its parameters are the names of `weights`. */
  readonly buildGraph: (wanted: ReadonlySet<string>) => Graph
  readonly weights: Readonly<Record<string, Tensor<'float32'>>>
}

export interface LoadedModel {
  readonly description: ModelDescription
  readonly towers: { readonly vision: LoadedTower; readonly text?: LoadedTower }
  /** Present where there is a text tower. */
  readonly tokenizer?: ClipTokenizer
}

export interface LoadOptions {
  readonly processing?: readonly WeightProcessing[]
  /** Checked between tensors. */
  readonly signal?: AbortSignal
}

/**
 * Everything that can be said without loading: reads configurations, the headers of the weights, the tokenizer, and CLIP's temperature.
 * @throws FILE_INVALID, FILE_UNSAFE, MODEL_UNSUPPORTED, WEIGHTS_MISMATCH
 */
export async function describeModel(folder: string, { processing = [] }: LoadOptions = {}): Promise<ModelDescription> {
  const opened = await open(folder)
  try {
    // a model that could not be loaded for its tokenizer must not be imported
    if (opened.text) await tokenizerOf(folder, opened, opened.text.config)
    return await describe(opened, inProcessingOrder(processing))
  } finally {
    await opened.file.close()
  }
}

/**
 * Reads a model. The weights come one tensor at a time, so memory peaks at the weights plus one tensor.
 * @throws FILE_INVALID, FILE_UNSAFE, MODEL_UNSUPPORTED, WEIGHTS_MISMATCH; what `signal` says
 */
export async function loadModel(folder: string, { processing = [], signal }: LoadOptions = {}): Promise<LoadedModel> {
  const opened = await open(folder)
  try {
    const order = inProcessingOrder(processing)
    const description = await describe(opened, order)
    const read = async (source: string) => {
      signal?.throwIfAborted()
      return opened.file.read(source)
    }
    const loadTower = async <C extends VisionConfig | TextConfig>(
      { config, plan }: PlannedTower<C>,
      build: (config: C, wanted: ReadonlySet<string>) => Graph,
    ): Promise<LoadedTower> => {
      const weights = await readPlanned(plan, read)
      processWeights(config, weights, order)
      const processed = processConfig(config, order)
      return { buildGraph: (wanted) => build(processed, wanted), weights }
    }
    const { vision, text } = opened
    const textTower = text && (await loadTower(text, textGraph))
    const tokenizer = text && (await tokenizerOf(folder, opened, text.config))
    return {
      description,
      towers: { vision: await loadTower(vision, visionGraph), ...(textTower && { text: textTower }) },
      ...(tokenizer && { tokenizer }),
    }
  } finally {
    await opened.file.close()
  }
}

interface PlannedTower<Config> {
  readonly config: Config
  readonly plan: readonly PlannedWeight[]
}

interface OpenedModel {
  readonly layout: string
  readonly reading: CheckpointReading
  readonly file: WeightFile
  /** canonical name -> name in the file */
  readonly names: ReadonlyMap<string, string>
  readonly preprocessing: Preprocessing
  readonly vision: PlannedTower<VisionConfig>
  readonly text?: PlannedTower<TextConfig>
}

const configFiles = ['config.json', 'open_clip_config.json'] as const

async function open(folder: string): Promise<OpenedModel> {
  const json = new Map<string, JsonObject>()
  for (const name of configFiles) {
    const values = await readJsonFile(folder, name)
    if (values) json.set(name, values)
  }
  const file = await openWeights(folder, json)
  try {
    return await check(folder, json, file)
  } catch (error) {
    await file.close()
    throw error
  }
}

/** A repository of open_clip often holds the same model for transformers too, under other names; its own files are preferred. */
async function openWeights(folder: string, json: ReadonlyMap<string, JsonObject>): Promise<WeightFile> {
  if (!json.has('open_clip_config.json')) return openWeightFolder(folder)
  const candidates = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin', ...weightFileNames]
  const present = await readdir(folder).catch(() => [])
  return openWeightFolder(folder, present.some((name) => candidates.includes(name)) ? candidates : undefined)
}

async function check(folder: string, json: ReadonlyMap<string, JsonObject>, file: WeightFile): Promise<OpenedModel> {
  const canonical = canonicalNames(file.entries.keys(), [])
  const files: CheckpointFiles = { json, tensors: new Map([...canonical].map(([name, source]) => [name, file.entries.get(source)!])) }
  const layout = detectLayout(files)
  const reading = layout.read(files)
  const names = canonicalNames(file.entries.keys(), reading.prefixes)

  const preprocessing = reading.preprocessing ?? (await readPreprocessing(folder, factsOf(layout.name, reading.vision.config)))
  const visionConfig = forPictures(reading, preprocessing)
  requirePatches(visionConfig)
  const vision = { rules: reading.vision.rules(visionConfig), parameters: visionGraph(visionConfig).parameters }
  const text = reading.text && {
    rules: reading.text.rules(reading.text.config),
    parameters: textGraph(reading.text.config).parameters,
  }
  const scalars = [reading.logitScale, reading.logitBias].filter((name) => name !== undefined)
  const plans = planWeights(
    { vision, ...(text && { text }) },
    { layout: layout.name, tensors: file.entries, names, ignored: reading.ignored, prefixes: reading.prefixes, scalars },
  )
  return {
    layout: layout.name,
    reading,
    file,
    names,
    preprocessing,
    vision: { config: visionConfig, plan: plans.vision! },
    ...(reading.text && { text: { config: reading.text.config, plan: plans.text! } }),
  }
}

const libraryOf: Readonly<Record<string, Library>> = { 'open-clip': 'open-clip', timm: 'timm' }

function factsOf(layout: string, { imageSize, nChannels }: VisionConfig) {
  return { imageSize, nChannels, library: libraryOf[layout] ?? ('transformers' as const) }
}

async function tokenizerOf(folder: string, { layout, reading }: OpenedModel, config: TextConfig): Promise<ClipTokenizer> {
  if (reading.tokenizerProblem !== undefined) return refusingTokenizer(config, reading.tokenizerProblem)
  const { contextLength, vocabSize } = config
  return loadTokenizer(folder, { contextLength, vocabSize, style: layout === 'open-clip' ? 'open-clip' : 'transformers' })
}

/** The vision configuration for pictures of the size that preprocessing makes. */
function forPictures({ vision, resizesPositions }: CheckpointReading, preprocessing: Preprocessing): VisionConfig {
  const { config } = vision
  const made = pictureSize(preprocessing)
  const { height, width } = config.imageSize
  if (made === undefined || (made.height === height && made.width === width)) return config
  if (resizesPositions) return resizesPositions(config, made)
  const file = preprocessing.source ?? 'the preprocessing'
  const problem = `makes pictures of ${made.height} x ${made.width}; the model takes ${height} x ${width}.`
  throw new EngineError('FILE_INVALID', { file, problem })
}

function requirePatches(config: VisionConfig): void {
  const { imageSize, patchSize } = config
  if (nPatches(config) > 0) return
  const problem = `has patches of ${patchSize.height} x ${patchSize.width}, larger than its images of ${imageSize.height} x ${imageSize.width}.`
  throw new EngineError('FILE_INVALID', { file: 'the configuration', problem })
}

/** Height and width after preprocessing; undefined where they depend on the picture. */
function pictureSize({ crop, resize }: Preprocessing): { height: number; width: number } | undefined {
  if (crop) return crop
  return resize && (resize.kind === 'exact' || resize.kind === 'longestEdge') ? resize : undefined
}

async function describe(opened: OpenedModel, processing: readonly WeightProcessing[]): Promise<ModelDescription> {
  const { layout, reading, preprocessing, vision, text } = opened
  const logScale = await readScalar(opened, reading.logitScale)
  const logitBias = await readScalar(opened, reading.logitBias)
  return {
    layout,
    vision: describeTower(vision, processing),
    ...(text && { text: describeTower(text, processing) }),
    preprocessing,
    ...(logScale !== undefined && { logitScale: Math.exp(logScale) }),
    ...(logitBias !== undefined && { logitBias }),
    ...(reading.classLabels && { classLabels: reading.classLabels }),
    processing,
  }
}

function describeTower(
  { config, plan }: PlannedTower<VisionConfig | TextConfig>,
  processing: readonly WeightProcessing[],
): TowerDescription {
  const axes = outputAxes(config)
  return {
    config: processConfig(config, processing),
    hookPoints: hookPointsOf(config),
    output: { axes, shape: shapeOfAxes(axes, config) },
    nParameters: plan.reduce((sum, { how, targets }) => sum + elementCount(how.sourceShape(targets)), 0),
  }
}

/** One number: of shape `[]` or `[1]`. */
async function readScalar({ file, names, layout }: OpenedModel, name: string | undefined): Promise<number | undefined> {
  if (name === undefined) return undefined
  const source = names.get(name)
  if (source === undefined) throw new EngineError('WEIGHTS_MISMATCH', { layout, problems: [`"${name}" [] is missing`] })
  const { shape } = file.entries.get(source)!
  if (elementCount(shape) !== 1) {
    throw new EngineError('WEIGHTS_MISMATCH', { layout, problems: [`"${source}" has shape [${shape.join(', ')}]; expected []`] })
  }
  return asFloat32(await file.read(source)).data[0]
}

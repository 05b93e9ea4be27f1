/**
 * From a model to a folder that others read: `config.json`, the weights, the preprocessing, and what belongs beside them. The folder is
 * there whole or not at all, and no folder is made that this engine would read as another model than was given.
 */

import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { EngineError, invariant } from '../errors.js'
import type { Graph } from '../graph/graph.js'
import { writeFolderAtomically, writeThrough } from '../io/atomic-write.js'
import { cardFile, cardText, type ModelCard } from '../io/model-card.js'
import type { NamedTensors } from '../io/named-tensors.js'
import { safetensorsChunks } from '../io/safetensors.js'
import { torchChunks } from '../io/torch-writer.js'
import { elementCount, scalar, type Tensor, zeros } from '../tensor.js'
import { expressedIn, firstSpelling } from './layouts/expressible.js'
import { hfClip } from './layouts/hf-clip.js'
import { hfVit } from './layouts/hf-vit.js'
import type { CheckpointWriting, ModelFacts, WritableLayout } from './layouts/layout.js'
import { refract } from './layouts/refract.js'
import { vitPrisma } from './layouts/vit-prisma.js'
import { describeModel, type LoadedModel } from './load.js'
import type { TextConfig, VisionConfig } from './model.js'
import type { WeightRule } from './name-map.js'
import { textGraph } from './text-tower.js'
import { visionGraph } from './vit.js'

type Weights = Readonly<Record<string, Tensor<'float32'>>>

export interface TowerToWrite<Config> {
  readonly config: Config
  /** By the names of the graph's parameters, all of them and no others. */
  readonly weights: Weights
}

export interface ModelToWrite extends Omit<ModelFacts, 'vision' | 'text'> {
  readonly vision: TowerToWrite<VisionConfig>
  readonly text?: TowerToWrite<TextConfig>
}

/** The layouts that are written; where none is asked for, the first that can express the model. */
const writable = { 'hf-clip': hfClip, 'hf-vit': hfVit, 'vit-prisma': vitPrisma, refract } as const satisfies Record<string, WritableLayout>
export type WritableLayoutName = keyof typeof writable
export const writableLayouts = (): WritableLayoutName[] => Object.keys(writable) as WritableLayoutName[]

export interface ModelFolderOptions {
  readonly layout?: WritableLayoutName
  /** `model.safetensors`, or `pytorch_model.bin`. Default: safetensors. */
  readonly format?: 'safetensors' | 'torch'
  /** README.md. */
  readonly card?: ModelCard
  /** What else belongs into the folder, by plain name: a tokenizer's files (see `tokenizerFiles`), curves, a training configuration. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>
  /** Replace a folder that holds files. */
  readonly replace?: boolean
  readonly signal?: AbortSignal
}

export interface WrittenModel {
  readonly layout: WritableLayoutName
  /** Names of the files, in order. */
  readonly files: readonly string[]
}

/**
 * @throws MODEL_UNSUPPORTED when the layout cannot express the model, with what it lacks and which layouts can; WEIGHTS_MISMATCH when the
 *   weights are not those of the configuration; INPUT_INVALID for a folder that holds files, or a file's name; STORAGE_FULL. The folder
 *   is then as it was.
 */
export async function writeModelFolder(folder: string, model: ModelToWrite, options: ModelFolderOptions = {}): Promise<WrittenModel> {
  requireWeights(model)
  const { layout, writing } = chosen(factsOf(model), options.layout)
  const files = new Map<string, readonly Uint8Array[] | string | Uint8Array>(Object.entries(filesFor(writing, options)))
  const { name, chunks } = weightFile(allWeights(model, writing), options.format ?? 'safetensors')
  files.set(name, chunks)
  await writeFolderAtomically(
    folder,
    async (aside) => {
      for (const [file, content] of files) {
        options.signal?.throwIfAborted()
        await writeThrough(path.join(aside, file), content, options.signal ? { signal: options.signal } : {})
      }
      // What was written is what will be read: configuration, names, shapes and tokenizer, before it takes its name.
      await describeModel(aside)
    },
    { replace: options.replace ?? false },
  )
  return { layout, files: [...files.keys()].sort() }
}

/** The layouts that can express a model, the most widely read first. `refract` is always among them. */
export function layoutsFor(model: ModelFacts): WritableLayoutName[] {
  return writableLayouts().filter((name) => attempt(name, model).kind === 'writing')
}

/**
 * A loaded model as it can be written, weight processing included: processed weights are weights of the processed configuration.
 * @throws MODEL_UNSUPPORTED for an open_clip text tower, whose tokenizer cleans and pads otherwise than the written layouts' readers do
 */
export function modelToWrite({ description, towers }: LoadedModel): ModelToWrite {
  const { vision, text, preprocessing, logitScale, logitBias, classLabels } = description
  if (text && description.layout === 'open-clip') {
    const supported = 'Texts are cleaned and padded otherwise in the layouts that are written; its vision tower alone can be.'
    throw new EngineError('MODEL_UNSUPPORTED', { what: 'Writing a text tower of open_clip', supported })
  }
  return {
    vision: { config: vision.config as VisionConfig, weights: towers.vision.weights },
    ...(text && towers.text && { text: { config: text.config as TextConfig, weights: towers.text.weights } }),
    preprocessing,
    ...(logitScale !== undefined && { logScale: Math.log(logitScale) }),
    ...(logitBias !== undefined && { logitBias }),
    ...(classLabels && { classLabels }),
  }
}

const tokenizerNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
]

/** The tokenizer files of a model's folder, for `files`. */
export async function tokenizerFiles(folder: string): Promise<Record<string, Uint8Array>> {
  const found: Record<string, Uint8Array> = {}
  for (const name of tokenizerNames) {
    const bytes = await readFile(path.join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (bytes) found[name] = bytes
  }
  return found
}

function factsOf({ vision, text, ...rest }: ModelToWrite): ModelFacts {
  return { ...rest, vision: vision.config, ...(text && { text: text.config }) }
}

const attempt = (name: WritableLayoutName, model: ModelFacts) => expressedIn(writable[name], model)

function chosen(model: ModelFacts, wanted: WritableLayoutName | undefined): { layout: WritableLayoutName; writing: CheckpointWriting } {
  const layout = wanted ?? layoutsFor(model)[0] ?? 'refract'
  const expressed = attempt(layout, model)
  if (expressed.kind === 'writing') return { layout, writing: expressed.writing }
  const others = layoutsFor(model)
  throw new EngineError('MODEL_UNSUPPORTED', {
    what: `Writing this model in the layout ${layout} (${expressed.problems.slice(0, 6).join('; ')})`,
    supported: others.length > 0 ? `Layouts that can express it: ${others.join(', ')}.` : 'No layout can express it.',
  })
}

/** Every parameter of the graphs in its shape, and nothing else. */
function requireWeights({ vision, text }: ModelToWrite): void {
  const problems = [
    ...misfits('vision', visionGraph(vision.config), vision.weights),
    ...(text ? misfits('text', textGraph(text.config), text.weights) : []),
  ]
  if (problems.length > 0) throw new EngineError('WEIGHTS_MISMATCH', { layout: "model's own", problems })
}

function misfits(tower: string, { parameters }: Graph, weights: Weights): string[] {
  const problems = Object.entries(parameters).flatMap(([name, { shape }]) => {
    const given = weights[name]
    if (given === undefined) return [`${tower} weight ${name} [${shape.join(', ')}] is missing`]
    const fits = given.shape.join() === shape.join() && given.dtype === 'float32' && given.data.length === elementCount(given.shape)
    return fits ? [] : [`${tower} weight ${name} has shape [${given.shape.join(', ')}]; expected [${shape.join(', ')}] of float32`]
  })
  const extra = Object.keys(weights).filter((name) => !Object.hasOwn(parameters, name))
  return [...problems, ...extra.map((name) => `${name} is not a weight of the ${tower} tower`)]
}

function filesFor(writing: CheckpointWriting, { card, files = {} }: ModelFolderOptions): Record<string, string | Uint8Array> {
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
  const made: Record<string, string> = Object.fromEntries(Object.entries(writing.json).map(([name, value]) => [name, json(value)]))
  if (card) made[cardFile] = cardText(card)
  requireOwnNames(Object.keys(files), Object.keys(made))
  return { ...made, ...files }
}

/** Would be read instead of what is written, or beside it. */
const takenNames = /(^config\.json|^open_clip_config\.json|^(pre)?processor_config\.json|\.index\.json|\.safetensors|\.(pt|pth|bin))$/

function requireOwnNames(names: readonly string[], made: readonly string[]): void {
  for (const name of names) {
    const isPlain = /^[^./\\\0][^/\\\0]*$/.test(name)
    const problem = !isPlain
      ? 'is not the plain name of a file.'
      : made.includes(name) || takenNames.test(name)
        ? 'would stand in the place of what is written. Put it elsewhere.'
        : undefined
    if (problem !== undefined) throw new EngineError('INPUT_INVALID', { path: `files.${name}`, problem })
  }
}

function allWeights(model: ModelToWrite, writing: CheckpointWriting): [name: string, tensor: Tensor][] {
  const { spelled = (name: string) => name, unused = {} } = writing
  const ofTower = (rules: readonly WeightRule[], weights: Weights) =>
    rules.map(({ source, to, how }): [string, Tensor] => {
      const name = spelled(firstSpelling(source))
      invariant(how.restore, `${name} cannot be had back from the parameters that were made of it`)
      return [name, how.restore(to.map((parameter) => weights[parameter]!))]
    })
  return [
    ...ofTower(writing.vision, model.vision.weights),
    ...(model.text ? ofTower(writing.text ?? [], model.text.weights) : []),
    ...(model.logScale === undefined ? [] : [['logit_scale', scalar(model.logScale)] as [string, Tensor]]),
    ...(model.logitBias === undefined ? [] : [['logit_bias', scalar(model.logitBias)] as [string, Tensor]]),
    ...Object.entries(unused).map(([name, shape]): [string, Tensor] => [spelled(name), zeros('float32', shape)]),
  ]
}

function weightFile(weights: NamedTensors, format: 'safetensors' | 'torch'): { name: string; chunks: readonly Uint8Array[] } {
  if (format === 'torch') return { name: 'pytorch_model.bin', chunks: torchChunks(weights) }
  // transformers wants to know which library's tensors they are.
  return { name: 'model.safetensors', chunks: safetensorsChunks(weights, { format: 'pt' }) }
}

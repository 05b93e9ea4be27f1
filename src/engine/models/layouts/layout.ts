/**
 * What a checkpoint layout is: how to recognise it, how its own configuration becomes ours, and its name map. One file each beside this
 * one; `registry.ts` lists them.
 */

import type { ConfigFields, JsonObject, Size } from '../config-fields.js'
import type { TextConfig, VisionConfig } from '../model.js'
import type { IgnoredWeights, StoredTensor, WeightRule } from '../name-map.js'

/** A model's folder before any weight is read. */
export interface CheckpointFiles {
  /** Parsed JSON files of the folder, by name. */
  readonly json: ReadonlyMap<string, JsonObject>
  /** The weights' headers, by canonical name (see `canonicalNames`, without a layout's own prefixes). */
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

export interface Layout {
  readonly name: string
  /** By its configuration file and the names of its weights. */
  readonly detect: (files: CheckpointFiles) => boolean
  /** @throws FILE_INVALID, MODEL_UNSUPPORTED */
  readonly read: (files: CheckpointFiles) => CheckpointReading
}

/** What a layout says of one checkpoint. */
export interface CheckpointReading {
  readonly vision: TowerReading<VisionConfig>
  readonly text?: TowerReading<TextConfig>
  /** Dropped from the front of names. */
  readonly prefixes: readonly string[]
  readonly ignored: readonly IgnoredWeights[]
  /** Why texts cannot be tokenized, though there is a text tower. */
  readonly tokenizerProblem?: string
  /** Canonical names of CLIP's temperature (its logarithm) and bias. */
  readonly logitScale?: string
  readonly logitBias?: string
  readonly classLabels?: readonly string[]
  /** Set where the library interpolates positions for images of another size than the model was trained on. */
  readonly resizesPositions?: (config: VisionConfig, size: Size) => VisionConfig
}

export interface TowerReading<Config> {
  readonly config: Config
  /** The name map for a configuration (which may be for another image size than the file's). */
  readonly rules: (config: Config) => readonly WeightRule[]
}

/** Buffers that old files carry: 0, 1, 2, ... */
export const positionIds: IgnoredWeights = { names: /(^|\.)position_ids$/, reason: 'a constant buffer: 0, 1, 2, ...' }

/** `id2label` as a list by index; undefined unless it names every class. */
export function classLabelsOf(fields: ConfigFields, nClasses: number): string[] | undefined {
  const labels = fields.raw('id2label')
  if (typeof labels !== 'object' || labels === null) return undefined
  const list = Array.from({ length: nClasses }, (_, index) => (labels as JsonObject)[String(index)])
  return list.every((label) => typeof label === 'string') ? (list as string[]) : undefined
}

/** Length of the first axis of a stored tensor, where it is there. */
export function rowsOf(files: CheckpointFiles, name: string): number | undefined {
  return files.tensors.get(name)?.shape[0]
}

/**
 * What a checkpoint layout is: how to recognise it, how its own configuration becomes ours, its name map, and for some how our
 * configuration becomes its own. One file each beside this one; `registry.ts` lists them.
 */

import type { Preprocessing } from '../../image/preprocessing.js'
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

/** A layout that is written as well as read. */
export interface WritableLayout extends Layout {
  /**
   * It need not refuse what its configuration has no field for: whoever writes reads the result again, and what comes out otherwise cannot
   * be expressed (see expressible.ts).
   */
  readonly write: (model: ModelFacts) => CheckpointWriting
}

/** Everything of a model but its weights. */
export interface ModelFacts {
  readonly vision: VisionConfig
  readonly text?: TextConfig
  /** CLIP's temperature and bias, as they are learned: the temperature as its logarithm. */
  readonly logScale?: number
  readonly logitBias?: number
  readonly preprocessing: Preprocessing
  readonly classLabels?: readonly string[]
}

/** A model in a layout's own words. */
export interface CheckpointWriting {
  /** JSON files by name. */
  readonly json: Readonly<Record<string, JsonObject>>
  /** The name map of each tower; of several spellings the first is written. */
  readonly vision: readonly WeightRule[]
  readonly text?: readonly WeightRule[]
  /** The file's name for a rule's; the same where absent. */
  readonly spelled?: (name: string) => string
  /** Weights that the layout's library wants and nothing computes with, written as zeros: shapes by name. */
  readonly unused?: Readonly<Record<string, readonly number[]>>
  /** What the layout's library cannot have, though its reader here can: clauses such as "pictures that are not square". */
  readonly refusals?: readonly string[]
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
  /** Where the layout's own configuration says it. */
  readonly preprocessing?: Preprocessing
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

/** A size as most configurations write it: one number for a square. */
export function sizeField({ height, width }: Size): number | number[] {
  return height === width ? height : [height, width]
}

/** A refusal where a library has one number for both sides. */
export function squareOnly({ imageSize, patchSize }: VisionConfig): string[] {
  return [
    ...(imageSize.height === imageSize.width ? [] : [`pictures of ${imageSize.height} x ${imageSize.width}, which are not square`]),
    ...(patchSize.height === patchSize.width ? [] : [`patches of ${patchSize.height} x ${patchSize.width}, which are not square`]),
  ]
}

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

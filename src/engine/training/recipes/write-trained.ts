/** The end of a recipe: the trained model as a folder that others read, with its card. */

import path from 'node:path'
import type { Preprocessing } from '../../image/preprocessing.js'
import type { ModelCard } from '../../io/model-card.js'
import type { TextConfig, VisionConfig } from '../../models/model.js'
import { type WritableLayoutName, writableLayouts, writeModelFolder } from '../../models/write.js'
import type { StrictFields } from '../../strict-fields.js'
import type { Tensor } from '../../tensor.js'
import { logScaleName, towerWeights } from '../model-objective.js'
import type { RunOutcome } from '../run/training-run.js'
import type { PictureData } from './picture-data.js'

/** Where in the run's folder the model goes. */
const folderName = 'model'

export interface ExportFields {
  readonly layout?: WritableLayoutName
  readonly name?: string
  readonly description?: string
  readonly license?: string
  readonly tags: readonly string[]
}

/** `export: { layout, name, description, license, tags }`. */
export function readExport(section: StrictFields | undefined): ExportFields {
  if (section === undefined) return { tags: [] }
  return {
    ...(section.has('layout') && { layout: section.choice('layout', writableLayouts()) }),
    ...(section.has('name') && { name: section.string('name') }),
    ...(section.has('description') && { description: section.string('description') }),
    ...(section.has('license') && { license: section.string('license') }),
    tags: section.strings('tags', []),
  }
}

export interface Trained {
  /** By the names of the training graph. */
  readonly weights: Readonly<Record<string, Tensor>>
  readonly vision: VisionConfig
  readonly text?: { readonly config: TextConfig; readonly files: Readonly<Record<string, string>> }
  readonly preprocessing: Preprocessing
  readonly classLabels?: readonly string[]
  readonly outcome: RunOutcome
  readonly data: PictureData
  readonly kind: 'image-classification' | 'zero-shot-image-classification'
  readonly written: ExportFields
}

/** @returns the folder's name within the run's */
export async function writeTrained(runFolder: string, trained: Trained): Promise<string> {
  const { weights, vision, text, preprocessing, classLabels, written } = trained
  const tower = (name: 'vision' | 'text') => towerWeights(weights, name) as Record<string, Tensor<'float32'>>
  await writeModelFolder(
    path.join(runFolder, folderName),
    {
      vision: { config: vision, weights: tower('vision') },
      ...(text && { text: { config: text.config, weights: tower('text') }, logScale: Number(weights[logScaleName]!.data[0]) }),
      preprocessing,
      ...(classLabels && { classLabels }),
    },
    { ...(written.layout && { layout: written.layout }), card: cardOf(trained), files: text?.files ?? {}, replace: true },
  )
  return folderName
}

function cardOf({ outcome, data, kind, written }: Trained): ModelCard {
  const { evaluation } = outcome
  const measured = Object.entries(evaluation)
  const name = written.name ?? 'model'
  const rows = measured.map(([metric, value]) => `| ${metric} | ${(100 * value).toFixed(2)} % |`)
  const body = [
    `# ${name}`,
    ...(written.description === undefined ? [] : [written.description]),
    `Trained for ${outcome.step} steps on ${data.train.name} (${data.train.size} pictures, sha256 ${data.train.hash}).`,
    ...(data.test ? [`Tested on ${data.test.name} (${data.test.size} pictures, sha256 ${data.test.hash}):`] : []),
    ...(rows.length > 0 ? [['| metric | value |', '|---|---|', ...rows].join('\n')] : []),
  ].join('\n\n')
  return {
    body,
    name,
    ...(written.license !== undefined && { license: written.license }),
    tags: ['refract', ...written.tags],
    libraryName: 'transformers',
    pipelineTag: kind,
    ...(data.test &&
      measured.length > 0 && {
        results: [
          {
            task: kind,
            dataset: { name: data.test.name, type: 'custom' },
            metrics: measured.map(([metric, value]) => ({ type: metric, value })),
          },
        ],
      }),
  }
}

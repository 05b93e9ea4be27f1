/**
 * Where a data set comes from: a folder, a list or a zip file in which pictures are found, or a description as training has it
 * (`open-dataset.ts`).
 */

import fs from 'node:fs/promises'
import path from 'node:path'
import type { Dataset, PictureSource } from '../../engine/datasets/dataset.js'
import { type ExamineOptions, examined, type PictureFacts } from '../../engine/datasets/examine.js'
import { ABOUT_FILE, findPictures } from '../../engine/datasets/find-pictures.js'
import { openDataset } from '../../engine/datasets/open-dataset.js'
import { EngineError } from '../../engine/errors.js'
import type { ImageLimits } from '../../engine/image/decode.js'
import { StrictFields } from '../../engine/strict-fields.js'
import { openZipFolder, type ZipFolder } from './zip-folder.js'

export type DatasetSource =
  | {
      readonly kind: 'found'
      /** A folder, a list, or a zip file of either. */
      readonly file: string
      /** Of class folders below `train`, `val`, ...: which. */
      readonly part?: string
      readonly unreadable: ExamineOptions['unreadable']
      /** `decode` unless given. */
      readonly check?: ExamineOptions['check']
    }
  | { readonly kind: 'described'; readonly description: unknown; readonly baseFolder?: string }

/** What one says of a data set: when it is registered, or in a `dataset.json` beside its pictures. */
export interface AboutDataset {
  /** A slug; made from the name where it is not given. */
  readonly id?: string
  readonly name?: string
  readonly license?: string
  readonly description?: string
}

export interface OpenedSource {
  readonly dataset: Dataset
  readonly about: AboutDataset
  /** Of every picture that has a file. */
  readonly facts: ReadonlyMap<PictureSource, PictureFacts>
}

export interface OpenSourceOptions {
  readonly limits: ImageLimits
  /** An empty folder to unpack into, there for as long as the pictures are read. */
  readonly scratch: string
  /** Sees what is in a zip file before it is unpacked, and may refuse it. */
  readonly onZip?: (contents: Pick<ZipFolder, 'nFiles' | 'bytes'>) => void
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

const MAX_ABOUT_BYTES = 2 ** 16

/** Every picture is read once, and decoded. @throws DATASET_INVALID, CONFIG_INVALID; what `onZip` and `signal` throw */
export async function openDatasetSource(source: DatasetSource, options: OpenSourceOptions): Promise<OpenedSource> {
  const facts = new Map<PictureSource, PictureFacts>()
  const { limits, onProgress, signal } = options
  const examine = {
    limits,
    onPicture: (picture: PictureSource, about: PictureFacts) => void facts.set(picture, about),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  }
  try {
    if (source.kind === 'described') {
      const { description, baseFolder } = source
      const dataset = await openDataset(description, { ...examine, ...(baseFolder !== undefined && { baseFolder }) })
      return { dataset, about: { name: dataset.name }, facts }
    }
    const { part, unreadable, check = 'decode' } = source
    const given = /\.zip$/i.test(source.file) ? await unpacked(source.file, options) : source.file
    const { draft, folder } = await findPictures(given, part === undefined ? {} : { part })
    const about = await readAbout(path.join(folder, ABOUT_FILE))
    return { dataset: await examined(draft, { ...examine, unreadable, check }), about, facts }
  } catch (error) {
    // it is the caller's file, not one of ours
    if (error instanceof EngineError && error.code === 'FILE_INVALID') {
      const { file, problem } = error.details as { readonly file: string; readonly problem: string }
      throw new EngineError('DATASET_INVALID', { dataset: file, problem })
    }
    throw error
  }
}

async function unpacked(file: string, { scratch, onZip, signal }: OpenSourceOptions): Promise<string> {
  const name = path.basename(file)
  const zip = await openZipFolder(file, name)
  try {
    if (zip.nFiles === 0) throw new EngineError('DATASET_INVALID', { dataset: name, problem: 'there is no file in it.' })
    onZip?.(zip)
    // it is called what the archive is called, in messages
    const folder = path.join(scratch, 'unpacked', name.replace(/\.zip$/i, '') || 'pictures')
    await fs.mkdir(folder, { recursive: true })
    await zip.extractTo(folder, signal)
    return folder
  } finally {
    await zip.close()
  }
}

async function readAbout(file: string): Promise<AboutDataset> {
  const stats = await fs.stat(file).catch(() => undefined)
  if (!stats?.isFile()) return {}
  const refuse = (problem: string) => new EngineError('FILE_INVALID', { file: ABOUT_FILE, problem })
  if (stats.size > MAX_ABOUT_BYTES) throw refuse(`has ${stats.size} bytes; ${MAX_ABOUT_BYTES} are read.`)
  let value: unknown
  try {
    value = JSON.parse(await fs.readFile(file, 'utf8'))
  } catch {
    throw refuse('is not JSON.')
  }
  const fields = new StrictFields(value, ABOUT_FILE)
  const known = (['id', 'name', 'license', 'description'] as const).filter((key) => fields.has(key))
  const about = Object.fromEntries(known.map((key) => [key, fields.string(key)]))
  fields.check()
  return about
}

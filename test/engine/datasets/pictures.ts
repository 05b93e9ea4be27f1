import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import sharp from 'sharp'
import { afterAll } from 'vitest'
import type { Dataset, DatasetItem } from '../../../src/engine/datasets/dataset.js'
import { nothingToReport } from '../../../src/engine/datasets/dataset.js'

export const limits = { maxPixels: 1_000_000 }

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})

export function scratchFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dataset-'))
  folders.push(folder)
  return folder
}

/** A PNG of one colour, different for each `shade`. */
export function png(shade: number, { width = 8, height = 8, alpha = 1 } = {}): Promise<Buffer> {
  const background = { r: shade % 256, g: (shade * 7) % 256, b: 255 - (shade % 256), alpha }
  return sharp({ create: { width, height, channels: alpha < 1 ? 4 : 3, background } })
    .png()
    .toBuffer()
}

/** Writes files, each its own colour, or the content that is given. */
export async function folderWith(
  files: readonly string[] | Readonly<Record<string, string | Uint8Array>>,
  folder = scratchFolder(),
): Promise<string> {
  const entries = Array.isArray(files)
    ? await Promise.all((files as readonly string[]).map(async (file, index) => [file, await png(index + 1)] as const))
    : Object.entries(files as Readonly<Record<string, string | Uint8Array>>)
  for (const [file, content] of entries) {
    fs.mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    fs.writeFileSync(path.join(folder, file), content)
  }
  return folder
}

export function itemsOf(dataset: Dataset): DatasetItem[] {
  return Array.from({ length: dataset.size }, (_, index) => dataset.item(index))
}

/** Items without files, of which only what is given is known. */
export function datasetOf(items: readonly Partial<DatasetItem>[], rest: Partial<Dataset> = {}): Dataset {
  const pixels = { width: 4, height: 4, channels: 3, data: new Uint8Array(48) }
  return {
    name: 'made up',
    hash: 'of what is made up',
    size: items.length,
    report: nothingToReport,
    item: (index) => ({
      name: `item ${index}`,
      picture: { kind: 'drawn', draw: () => ({ ...pixels, data: new Uint8Array(48).fill(index) }) },
      facets: {},
      ...items[index],
    }),
    ...rest,
  }
}

export function refusal(promise: Promise<unknown>): Promise<{ readonly code: string; readonly message: string }> {
  return promise.then(
    () => ({ code: 'none', message: 'was not refused' }),
    (error: { code: string; message: string }) => error,
  )
}

/** The demo model, its SAEs and the pictures that none of them was trained on, as the repository has them. */

import path from 'node:path'
import type { EngineHost, ModelSource, SaeSource } from '../../../src/engine/host/host.js'
import { openFileSource } from '../../../src/engine/io/byte-source.js'
import { readZipDirectory, readZipEntry } from '../../../src/engine/io/zip-reader.js'
import type { Tensor } from '../../../src/engine/tensor.js'

const demo = path.resolve(import.meta.dirname, '../../../demo')

export const demoModel: ModelSource = { key: 'emoji-clip', folder: path.join(demo, 'models/emoji-clip'), processing: [] }
export const demoSae = (id: string): SaeSource => ({ key: id, folder: path.join(demo, 'saes', id), overrides: {} })

export interface DemoPicture {
  readonly label: string
  readonly pixels: Tensor<'float32'>
}

/** Every `step`th of the emoji by Twemoji, prepared. */
export async function demoPictures(host: EngineHost, step: number): Promise<DemoPicture[]> {
  const { preprocessing } = await host.inspect(demoModel)
  const file = 'emoji-twemoji.zip'
  const source = await openFileSource(path.join(demo, 'datasets', file), file)
  const directory = await readZipDirectory(source, file)
  const read = (name: string) => readZipEntry(source, directory, { entry: directory.entries.get(name)!, maxBytes: 2 ** 22 })
  try {
    const lines = Buffer.from(await read('list.jsonl'))
      .toString()
      .trim()
      .split('\n')
    const rows = lines.filter((_, index) => index % step === 0).map((line) => JSON.parse(line) as { file: string; label: string })
    const prepare = async ({ file: id, label }: { file: string; label: string }) => {
      return { label, pixels: await host.preprocess({ id, read: () => read(id) }, preprocessing) }
    }
    return await Promise.all(rows.map(prepare))
  } finally {
    await source.close()
  }
}

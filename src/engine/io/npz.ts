/**
 * .npz: named arrays as a zip archive of .npy files. `numpy.load` opens what is written without unpickling, and its names are the
 * tensors' names whatever they contain (`blocks.0.hook_resid_post`).
 */

import { invariant } from '../errors.js'
import type { Tensor } from '../tensor.js'
import type { ByteSource } from './byte-source.js'
import type { NamedTensors } from './named-tensors.js'
import { npyChunks, readNpy } from './npy.js'
import { invalidFile, quoted } from './refusals.js'
import { readZipDirectory, readZipEntry } from './zip-reader.js'
import { type ByteStream, zipStream } from './zip-writer.js'

/**
 * An uncompressed .npz file, made while it is sent, so the tensors must not change meanwhile. Their own bytes are among the chunks, not
 * copied.
 */
export function npzStream(tensors: NamedTensors): ByteStream {
  const contents = [...tensors].map(([name, tensor]) => ({ name: `${name}.npy`, chunks: npyChunks(tensor) }))
  invariant(new Set(contents.map(({ name }) => name)).size === contents.length, 'two tensors to write have the same name')
  return zipStream(contents)
}

/**
 * Reads every array of an .npz file, compressed or not.
 *
 * @param maxBytes  the most that all arrays may take together in memory
 * @throws FILE_INVALID, and FILE_UNSAFE when an array is of Python objects
 */
export async function readNpz(
  source: ByteSource,
  file: string,
  { maxBytes = 2 ** 30 }: { maxBytes?: number } = {},
): Promise<Map<string, Tensor>> {
  const directory = await readZipDirectory(source, file)
  const total = [...directory.entries.values()].reduce((sum, entry) => sum + entry.size, 0)
  if (total > maxBytes) throw invalidFile(file, `its arrays take ${total} bytes; at most ${maxBytes} are read.`)
  const tensors = new Map<string, Tensor>()
  for (const [entryName, entry] of directory.entries) {
    if (!entryName.endsWith('.npy')) throw invalidFile(file, `has the entry ${quoted(entryName)}, which is not a .npy file.`)
    const bytes = await readZipEntry(source, directory, { entry, maxBytes })
    tensors.set(entryName.slice(0, -'.npy'.length), readNpy(bytes, `${file}/${entryName}`))
  }
  return tensors
}

/**
 * Which files are pictures, and which names stay inside a folder.
 */

import { realpath } from 'node:fs/promises'
import path from 'node:path'

/** Endings of what is meant to be a picture; of these, JPEG, PNG and WebP can be read, and any other is reported as one that cannot. */
const pictureEndings = new Set(
  'jpg jpeg jpe jfif png webp gif bmp dib tif tiff avif heic heif svg jxl jp2 ico ppm pgm pbm'.split(' ').map((ending) => `.${ending}`),
)

export function isPictureName(name: string): boolean {
  return pictureEndings.has(path.extname(name).toLowerCase())
}

/** What file managers and version control leave behind. */
export function isHidden(name: string): boolean {
  return name.startsWith('.') || name === 'Thumbs.db' || name === 'desktop.ini' || name === '__MACOSX'
}

/** Why a relative name does not lead to a file inside its folder; undefined when it does. Looks at the name only. */
export function whyOutside(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (/\p{Cc}/u.test(name)) return 'has control characters'
  if (name.includes('\\')) return 'has a backslash; "/" separates folders'
  if (path.posix.isAbsolute(name) || /^[a-zA-Z]:/.test(name)) return 'is absolute; names are relative'
  const parts = name.split('/')
  if (parts.includes('..')) return 'leads out of the folder'
  return parts.includes('.') || parts.includes('') ? 'has an empty part' : undefined
}

/** Whether a file, links resolved, is inside a folder (links resolved). One that is not there is left for the reader to report. */
export async function isInside(realFolder: string, file: string): Promise<boolean> {
  const real = await realpath(file).catch(() => undefined)
  return real === undefined || real.startsWith(realFolder.endsWith(path.sep) ? realFolder : realFolder + path.sep)
}

/** By code unit, the same everywhere: `localeCompare` depends on the machine. */
export function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

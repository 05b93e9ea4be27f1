/**
 * What a file is, by its first bytes and never by its name or by what the client says.
 */

import { EngineError } from '../errors.js'

export const imageFormats = ['jpeg', 'png', 'webp'] as const
export type ImageFormat = (typeof imageFormats)[number]

/** `??` matches any byte. Longest first where one starts another. */
const accepted: readonly (readonly [ImageFormat, string])[] = [
  ['jpeg', 'ff d8 ff'],
  ['png', '89 50 4e 47 0d 0a 1a 0a'],
  ['webp', '52 49 46 46 ?? ?? ?? ?? 57 45 42 50'],
]

/** Only to name what is refused. */
const refused: readonly (readonly [string, string])[] = [
  ['a GIF', '47 49 46 38'],
  ['a BMP', '42 4d'],
  ['a TIFF', '49 49 2a 00'],
  ['a TIFF', '4d 4d 00 2a'],
  ['a TIFF', '49 49 2b 00'],
  ['a TIFF', '4d 4d 00 2b'],
  ['an AVIF', '?? ?? ?? ?? 66 74 79 70 61 76 69'],
  ['a HEIF', '?? ?? ?? ?? 66 74 79 70 68 65 69'],
  ['a HEIF', '?? ?? ?? ?? 66 74 79 70 68 65 76'],
  ['a HEIF', '?? ?? ?? ?? 66 74 79 70 6d 69 66 31'],
  ['a HEIF', '?? ?? ?? ?? 66 74 79 70 6d 73 66 31'],
  ['an MP4 or QuickTime file', '?? ?? ?? ?? 66 74 79 70'],
  ['a JPEG XL', 'ff 0a'],
  ['a JPEG XL', '00 00 00 0c 4a 58 4c 20'],
  ['a JPEG 2000', '00 00 00 0c 6a 50 20 20'],
  ['a JPEG 2000', 'ff 4f ff 51'],
  ['an icon', '00 00 01 00'],
  ['a PSD', '38 42 50 53'],
  ['an EXR', '76 2f 31 01'],
  ['a Radiance HDR', '23 3f 52 41'],
  ['a PDF', '25 50 44 46'],
  ['PostScript', '25 21 50 53'],
  ['a zip archive', '50 4b 03 04'],
  ['a gzip file', '1f 8b'],
  ['a pickle', '80 02'],
  ['a numpy array', '93 4e 55 4d 50 59'],
  ['a RIFF file that is not WebP', '52 49 46 46'],
]

function startsWith(bytes: Uint8Array, signature: string): boolean {
  return signature.split(' ').every((hex, index) => hex === '??' || bytes[index] === Number.parseInt(hex, 16))
}

/** @throws IMAGE_INVALID, naming what the bytes are instead of a JPEG, PNG or WebP */
export function sniffFormat(bytes: Uint8Array): ImageFormat {
  const format = accepted.find(([, signature]) => startsWith(bytes, signature))?.[0]
  if (format) return format
  const what = bytes.length === 0 ? 'empty' : (refused.find(([, signature]) => startsWith(bytes, signature))?.[0] ?? describeText(bytes))
  throw new EngineError('IMAGE_INVALID', { problem: `it is ${what}; JPEG, PNG and WebP are accepted.` })
}

function describeText(bytes: Uint8Array): string {
  const start = new TextDecoder('utf-8').decode(bytes.subarray(0, 1024)).replaceAll('\0', '').trimStart().toLowerCase()
  if (/<svg[\s>]/.test(start)) return 'an SVG'
  if (/^<(!doctype html|html|head|body)/.test(start)) return 'an HTML page'
  if (start.startsWith('<?xml') || start.startsWith('<!--')) return 'an XML document'
  if (start.startsWith('data:')) return 'a data: URL; send the bytes themselves'
  return 'none of the known picture formats'
}

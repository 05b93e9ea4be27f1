/**
 * From the inputs of a request to what a tower takes: prepared pictures, or texts.
 */

import { createHash } from 'node:crypto'
import { EngineError } from '../engine/errors.js'
import type { PictureFile, RunInputs } from '../engine/host/host.js'
import type { Preprocessing } from '../engine/image/preprocessing.js'
import type { Tensor } from '../engine/tensor.js'
import { isRefusal, Problems, RequestError } from './errors.js'
import type { Call, Context } from './operation.js'
import type { ImageInputValue } from './schemas/image.js'

export type InputValue = { readonly image: ImageInputValue } | { readonly text: string }

/**
 * @param path  of pictures that are no inputs, for errors
 * @throws IMAGE_UNKNOWN, IMAGE_INVALID, IMAGE_TOO_LARGE, all pictures at once
 */
export async function loadInputs(
  context: Pick<Context, 'host' | 'catalog'>,
  {
    inputs,
    preprocessing,
    path,
  }: { readonly inputs: readonly InputValue[]; readonly preprocessing: Preprocessing; readonly path?: string },
  call: Call,
): Promise<RunInputs> {
  const texts = inputs.flatMap((input) => ('text' in input ? [input.text] : []))
  if (texts.length > 0) return { kind: 'text', texts }
  const images = inputs.flatMap((input) => ('image' in input ? [input.image] : []))
  const at = (index: number) => (path === undefined ? `inputs[${index}].image` : `${path}[${index}]`)

  const started = performance.now()
  const settled = await Promise.allSettled(
    images.map(async (image, index) => {
      const file = pictureFile(context, image, at(index))
      return context.host.preprocess(file, preprocessing, call.signal)
    }),
  )
  call.timing('decode', performance.now() - started)

  const problems = new Problems()
  const pictures: Tensor<'float32'>[] = []
  for (const [index, outcome] of settled.entries()) {
    if (outcome.status === 'fulfilled') pictures.push(outcome.value)
    else if (isRefusal(outcome.reason) && isAboutThePicture(outcome.reason.code)) problems.add(at(index), outcome.reason)
    else throw outcome.reason
  }
  problems.throwIfAny()
  return { kind: 'pictures', pictures }
}

const isAboutThePicture = (code: string) => ['IMAGE_UNKNOWN', 'IMAGE_INVALID', 'IMAGE_TOO_LARGE', 'INPUT_INVALID'].includes(code)

/** Reading throws IMAGE_UNKNOWN. @throws IMAGE_INVALID */
export function pictureFile({ catalog }: Pick<Context, 'catalog'>, image: ImageInputValue, path: string): PictureFile {
  if (typeof image === 'string') {
    return {
      id: image,
      async read() {
        const bytes = await catalog.images.read(image)
        if (!bytes) throw new RequestError('IMAGE_UNKNOWN', { image })
        return bytes
      },
    }
  }
  const bytes = decodeBase64(image.base64, path)
  return { id: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, read: () => bytes }
}

/** Strict: Buffer alone would drop what is not base64 and decode the rest. @throws IMAGE_INVALID */
export function decodeBase64(text: string, path: string): Uint8Array {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    const hint = text.startsWith('data:') ? ' Send what follows the comma of the data: URL.' : ''
    throw new EngineError('IMAGE_INVALID', { problem: `${path}.base64 is not base64.${hint}` })
  }
  return Buffer.from(text, 'base64')
}

/**
 * Runs as a thread of the image pool: pictures in, numbers or pictures out.
 */

import { inspectImage } from '../image/decode.js'
import { draw } from '../image/draw.js'
import { preprocess } from '../image/preprocess.js'
import { ViewedPictures } from '../image/viewed-pictures.js'
import type { ImageWorker } from './image-pool.js'
import { answerCalls } from './remote.js'
import { threadPort } from './thread-channel.js'

/** Of each thread; outside the memory budget, which counts what a request may bring in. */
const VIEWED_BYTES = 16 * 2 ** 20
const viewed = new ViewedPictures(VIEWED_BYTES)

answerCalls<ImageWorker>(threadPort(), {
  async prepare(bytes, how, limits) {
    const picture = await preprocess(bytes, how, limits)
    const shared = new Float32Array(new SharedArrayBuffer(picture.data.byteLength))
    shared.set(picture.data)
    return { ...picture, data: shared }
  },
  inspect: inspectImage,
  async draw(drawing, limits) {
    // the encoder's buffer may be part of a larger one, which cannot be moved
    return new Uint8Array(await draw(drawing, limits, viewed.view))
  },
})

/** Pictures on a server: JPEG files of a photograph's size, each its own colours and shapes. */

import sharp from 'sharp'
import type { Client } from './client.js'
import { randomTensor } from './vit-b-32.js'

/** Uploads `count` different pictures. @returns their ids */
export async function uploadPictures(client: Client, count: number): Promise<string[]> {
  const ids: string[] = []
  for (let seed = 1; seed <= count; seed++) {
    const { body } = await client.post('/v1/images', await picture(seed))
    ids.push((JSON.parse(body.toString()) as { id: string }).id)
  }
  return ids
}

/** A few random colours, blown up smoothly to 640 x 480. */
function picture(seed: number): Promise<Buffer> {
  const { data } = randomTensor([12, 16, 3], { scale: 60, seed })
  const colours = Uint8Array.from(data, (value) => Math.max(0, Math.min(255, 128 + value)))
  return sharp(colours, { raw: { width: 16, height: 12, channels: 3 } })
    .resize(640, 480, { kernel: 'cubic' })
    .jpeg({ quality: 90 })
    .toBuffer()
}

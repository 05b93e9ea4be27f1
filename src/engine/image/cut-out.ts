import type { Pixels } from './pixels.js'

/** Of a white ground as files have it, after scaling and lossy coding. */
const LEAST_WHITE = 250

/** An RGBA picture in which the white that reaches its edges is transparent: drawings on a white ground without it. */
export function cutOut({ width, height, channels, data }: Pixels): Pixels {
  const cut = Uint8Array.from(data)
  const isGround = (at: number) =>
    cut[at * 4 + 3] === 255 && cut[at * 4]! >= LEAST_WHITE && cut[at * 4 + 1]! >= LEAST_WHITE && cut[at * 4 + 2]! >= LEAST_WHITE
  const toVisit: number[] = []
  const visit = (x: number, y: number) => {
    if (x < 0 || y < 0 || x >= width || y >= height) return
    const at = y * width + x
    if (!isGround(at)) return
    cut[at * 4 + 3] = 0
    toVisit.push(at)
  }
  for (let x = 0; x < width; x++) for (const y of [0, height - 1]) visit(x, y)
  for (let y = 0; y < height; y++) for (const x of [0, width - 1]) visit(x, y)
  for (let at = toVisit.pop(); at !== undefined; at = toVisit.pop()) {
    const [x, y] = [at % width, Math.floor(at / width)]
    visit(x - 1, y)
    visit(x + 1, y)
    visit(x, y - 1)
    visit(x, y + 1)
  }
  return { width, height, channels, data: cut }
}

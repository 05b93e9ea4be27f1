/**
 * Takes one attention head after the other out of the picture's run and prints which ones the answer depends on, then steers the last
 * layer's CLS position from the picture of one thing towards another. Needs a running server:
 *
 *   node examples/change-the-answer.mjs [server]
 */

import { readFile } from 'node:fs/promises'

const server = process.argv[2] ?? 'http://127.0.0.1:8080'
const pictures = new URL('./pictures/', import.meta.url)

async function call(path, body, contentType = 'application/json') {
  const response = await fetch(server + path, { method: 'POST', headers: { 'content-type': contentType }, body })
  const answer = await response.json()
  if (!response.ok) throw new Error(`${answer.title}: ${answer.detail}`)
  return answer
}

const upload = async (name) => (await call('/v1/images', await readFile(new URL(name, pictures)), 'image/png')).id
const forward = (request) => call('/v1/forward', JSON.stringify({ model: 'emoji-vit', topK: 1, output: false, ...request }))

const [apple, bus] = await Promise.all(['red-apple.png', 'bus.png'].map(upload))
const inputs = [{ image: apple }]
const describe = ({ classes }) => `${classes[0][0].label} (${(100 * classes[0][0].probability).toFixed(1)} %)`

const plain = await forward({ inputs })
console.log(`as it is: ${describe(plain)}`)

for (const layer of [0, 1, 2, 3, 4, 5]) {
  for (const head of [0, 1, 2, 3]) {
    const edited = await forward({ inputs, edits: [{ hookPoint: `blocks.${layer}.attn.hook_z`, op: 'zero', heads: [head] }] })
    if (edited.classes[0][0].label !== plain.classes[0][0].label) console.log(`without head ${layer}.${head}: ${describe(edited)}`)
  }
}

const hookPoint = 'blocks.4.hook_resid_post'
const both = await forward({ inputs: [{ image: apple }, { image: bus }], read: [hookPoint], positions: 'cls' })
const [from, to] = both.activations[hookPoint].data.map((rows) => rows[0])
const vector = to.map((value, i) => value - from[i])
for (const strength of [0, 0.25, 0.5, 0.75, 1]) {
  const steered = await forward({ inputs, edits: [{ hookPoint, positions: 'cls', op: 'add', vector, strength }] })
  console.log(`${strength} of the way to the bus: ${describe(steered)}`)
}

/**
 * Takes one attention head after the other out of a picture's run and prints the three that the answer leans on most, then steers the CLS
 * token from the picture of a car towards that of a dog. Needs a running server:
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
const classify = { labels: ['car', 'bus', 'dog', 'cat', 'house', 'apple'] }
const forward = (request) => call('/v1/forward', JSON.stringify({ model: 'emoji-clip', classify, topK: 1, output: false, ...request }))

const [car, dog] = await Promise.all(['car.png', 'dog-face.png'].map(upload))
const inputs = [{ image: car }]
const describe = ({ classes }) => `${classes[0][0].label} (${(100 * classes[0][0].probability).toFixed(1)} %)`

const plain = await forward({ inputs })
console.log(`as it is: ${describe(plain)}`)

const label = plain.classes[0][0].label
const probabilityOf = ({ classes }) => classes[0].find((each) => each.label === label).probability
const without = []
for (const layer of [0, 1, 2, 3, 4, 5]) {
  for (const head of [0, 1, 2, 3]) {
    const edits = [{ hookPoint: `blocks.${layer}.attn.hook_z`, op: 'zero', heads: [head] }]
    without.push({ layer, head, probability: probabilityOf(await forward({ inputs, edits, topK: classify.labels.length })) })
  }
}
without.sort((a, b) => a.probability - b.probability)
for (const { layer, head, probability } of without.slice(0, 3)) {
  console.log(`without head ${head} of layer ${layer}: ${label} (${(100 * probability).toFixed(1)} %)`)
}

const hookPoint = 'blocks.4.hook_resid_post'
const both = await forward({ inputs: [{ image: car }, { image: dog }], read: [hookPoint], positions: 'cls' })
const [from, to] = both.activations[hookPoint].data.map((rows) => rows[0])
const vector = to.map((value, i) => value - from[i])
for (const strength of [0, 0.25, 0.5, 0.75, 1]) {
  const steered = await forward({ inputs, edits: [{ hookPoint, positions: 'cls', op: 'add', vector, strength }] })
  console.log(`${strength} of the way to the dog: ${describe(steered)}`)
}

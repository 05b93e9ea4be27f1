/**
 * Measures emoji-clip on the artist it never saw, through a running server: every Twemoji picture goes in over REST, with the names of the
 * categories and subcategories as labels.
 *
 *   npm --prefix demo ci && node demo/pictures.mjs && node demo/evaluate.mjs [server] [model]
 */

import { readFile } from 'node:fs/promises'
import path from 'node:path'

const server = process.argv[2] ?? 'http://127.0.0.1:8080'
const model = process.argv[3] ?? 'emoji-clip'
const folder = path.join(import.meta.dirname, '.pictures')
const BATCH = 64

async function post(route, body, contentType = 'application/json') {
  const response = await fetch(server + route, { method: 'POST', headers: { 'content-type': contentType }, body })
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

async function* batches(items) {
  for (let at = 0; at < items.length; at += BATCH) yield items.slice(at, at + BATCH)
}

const inWords = (value) => value.replaceAll(/[-_]+/g, ' ').trim().toLowerCase()
const emoji = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8')).filter(({ pictures }) => pictures.twemoji)
const show = (name, places, limit) => {
  const share = places.filter((place) => place < limit).length / places.length
  console.log(`${name}: ${(100 * share).toFixed(2)} % of ${places.length}`)
}

for (const facet of ['category', 'subcategory']) {
  const labels = [...new Set(emoji.map((entry) => inWords(entry[facet])))].sort()
  const places = []
  for await (const batch of batches(emoji)) {
    const inputs = await Promise.all(batch.map(async ({ pictures }) => ({ image: await upload(pictures.twemoji[0]) })))
    const { classes } = await post('/v1/forward', JSON.stringify({ model, inputs, classify: { labels, template: '{}' }, topK: 5, output: false }))
    for (const [row, entry] of batch.entries()) {
      const place = classes[row].findIndex(({ label }) => label === inWords(entry[facet]))
      places.push(place < 0 ? Infinity : place)
    }
  }
  show(`${facet}, top 1 of ${labels.length}`, places, 1)
  show(`${facet}, top 5 of ${labels.length}`, places, 5)
}

const images = await embeddings(async (entry) => ({ image: await upload(entry.pictures.twemoji[0]) }))
const texts = await embeddings(async (entry) => ({ text: entry.name.toLowerCase() }))
const similarity = images.map((image) => texts.map((text) => image.reduce((sum, value, at) => sum + value * text[at], 0)))
const toText = similarity.map((row, own) => row.filter((value) => value > row[own]).length)
const toImage = similarity.map((_, own) => similarity.filter((row) => row[own] > similarity[own][own]).length)
for (const limit of [1, 10]) show(`picture to name, among the first ${limit}`, toText, limit)
for (const limit of [1, 10]) show(`name to picture, among the first ${limit}`, toImage, limit)

async function upload(file) {
  return (await post('/v1/images', await readFile(path.join(folder, file)), 'image/webp')).id
}

async function embeddings(inputOf) {
  const rows = []
  for await (const batch of batches(emoji)) {
    const { output } = await post('/v1/forward', JSON.stringify({ model, inputs: await Promise.all(batch.map(inputOf)) }))
    rows.push(...output.data)
  }
  return rows
}

/**
 * Measures a classifier on the artist it never saw, through a running server: every Twemoji picture goes in over REST.
 *
 *   npm --prefix demo ci && node demo/pictures.mjs && node demo/evaluate.mjs [server] [model]
 */

import { readFile } from 'node:fs/promises'
import path from 'node:path'

const server = process.argv[2] ?? 'http://127.0.0.1:8080'
const model = process.argv[3] ?? 'emoji-vit'
const folder = path.join(import.meta.dirname, '.pictures')
const BATCH = 64

async function post(route, body, contentType) {
  const response = await fetch(server + route, { method: 'POST', headers: { 'content-type': contentType }, body })
  if (!response.ok) throw new Error(await response.text())
  return response.json()
}

const emoji = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8')).filter(({ pictures }) => pictures.twemoji)
const categoryOf = new Map(emoji.map(({ subcategory, category }) => [subcategory, category]))
const hits = { subcategory: 0, subcategoryTop5: 0, category: 0 }
for (let at = 0; at < emoji.length; at += BATCH) {
  const batch = emoji.slice(at, at + BATCH)
  const inputs = await Promise.all(
    batch.map(async ({ pictures }) => {
      const { id } = await post('/v1/images', await readFile(path.join(folder, pictures.twemoji[0])), 'image/png')
      return { image: id }
    }),
  )
  const { classes } = await post('/v1/forward', JSON.stringify({ model, inputs, topK: 5, output: false }), 'application/json')
  for (const [index, { subcategory, category }] of batch.entries()) {
    const labels = classes[index].map(({ label }) => label)
    hits.subcategory += labels[0] === subcategory
    hits.subcategoryTop5 += labels.includes(subcategory)
    hits.category += categoryOf.get(labels[0]) === category
  }
}
for (const [name, count] of Object.entries(hits)) console.log(`${name}: ${((100 * count) / emoji.length).toFixed(2)} % of ${emoji.length}`)

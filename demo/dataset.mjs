/**
 * Packs the pictures of the artist that no model saw in training as a data set that the server registers at its first start:
 * demo/datasets/emoji-twemoji.zip, with a list of names, classes and captions. Its items, labels, captions and order are those of
 * `{ kind: emoji, artists: [twemoji] }`, and so is its hash. The same pictures make the same bytes.
 *
 *   node demo/dataset.mjs      needs demo/.pictures (demo/pictures.mjs) and a build (npm run build)
 */

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const demo = (...parts) => path.join(import.meta.dirname, ...parts)
const compiled = (file) => import(pathToFileURL(demo('../dist', file)))
const ARTIST = 'twemoji'

const about = {
  id: 'emoji-twemoji',
  name: 'Emoji by Twemoji',
  license: 'cc-by-4.0',
  description: 'Emoji drawn by Twitter on a white ground, 64 x 64 pixels, with names, keywords and classes. No demo model or SAE was trained on them.',
}

const licence = `The pictures are Twemoji, copyright Twitter, Inc and other contributors, under CC-BY 4.0
(https://creativecommons.org/licenses/by/4.0/), the 64 x 64 files of the package
emoji-datasource-twitter, put on a white ground and kept without loss. Names are emoji-data's, keywords OpenMoji's (CC BY-SA 4.0).
`

export async function packDataset() {
  const { emojiCaptions, listEmoji } = await compiled('engine/datasets/emoji.js')
  const { zipChunks } = await compiled('engine/io/zip-writer.js')
  const { items, classNames } = await listEmoji({
    ...{ folder: demo('.pictures'), artists: [ARTIST], label: 'subcategory', captions: emojiCaptions, variants: false },
  })
  const rows = items.map(({ name, label, captions, facets }) =>
    JSON.stringify({ file: name, label: classNames[label], captions: captions.map(captionOf), ...facets }),
  )
  const text = (name, content) => ({ name, chunks: [Buffer.from(content)], deflated: true })
  const chunks = zipChunks([
    text('dataset.json', `${JSON.stringify(about, null, 2)}\n`),
    text('LICENSE.txt', licence),
    text('list.jsonl', `${rows.join('\n')}\n`),
    ...items.map(({ name, picture }) => ({ name, chunks: [fs.readFileSync(picture.path)] })),
  ])
  const file = demo('datasets', `${about.id}.zip`)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, Buffer.concat(chunks))
  return { file, nItems: items.length }
}

const captionOf = ({ text, weight }) => (weight === 1 ? text : { text, weight })

if (process.argv[1] === import.meta.filename) {
  const { file, nItems } = await packDataset()
  console.log(`${path.relative(process.cwd(), file)}: ${nItems} pictures, ${fs.statSync(file).size} bytes`)
}

/**
 * Collects the emoji pictures of every artist, 64 x 64, with one index, for training and testing the demo models: the unseen artist's on a white
 * ground as lossless WebPs, the others' transparent as PNGs.
 *
 *   npm --prefix demo ci && node demo/pictures.mjs
 *
 * Writes demo/.pictures/<artist>/<code points>.<png or webp> and demo/.pictures/index.json:
 *   [{ code, name, short, keywords, category, subcategory, pictures: { <artist>: [file, ...] } }]
 * Names are emoji-data's, keywords OpenMoji's tags.
 * The first picture of an artist is the emoji itself; the others are its skin-tone variants.
 * Artists: Noto (Apache-2.0), OpenMoji color and black (CC BY-SA 4.0), Fluent flat, modern and high-contrast (MIT); Twemoji (CC-BY 4.0) is the
 * unseen artist of the tests.
 */

import fs from 'node:fs'
import path from 'node:path'
import { createRequire } from 'node:module'

const require = createRequire(path.join(import.meta.dirname, '..', 'package.json'))
const sharp = require('sharp')

const SIZE = 64
const UNSEEN = 'twemoji'
const packages = path.join(import.meta.dirname, 'node_modules')
const out = path.join(import.meta.dirname, '.pictures')
const readJson = (file) => JSON.parse(fs.readFileSync(path.join(packages, file), 'utf8'))

const emoji = readJson('emoji-datasource-google/emoji.json').filter((entry) => entry.category !== 'Component')
const openmoji = readJson('openmoji/data/openmoji.json')
const annotations = new Map(openmoji.map((entry) => [entry.hexcode, entry.annotation]))
const tags = new Map(openmoji.map((entry) => [entry.hexcode, [entry.tags, entry.openmoji_tags].join(',')]))
const keywordsOf = (code) => {
  const words = (tags.get(code) ?? tags.get(withoutSelectors(code)) ?? '').split(',').map((word) => word.trim().toLowerCase())
  return [...new Set(words)].filter((word) => word !== '')
}
const withoutSelectors = (code) => code.split('-').filter((part) => part !== 'FE0F').join('-')
const slug = (name) => name.toLowerCase().normalize('NFD').replace(/[\u0300-\u036f’'.“”():,]/g, '').replace(/&/g, 'and').replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
const TONES = ['1F3FB', '1F3FC', '1F3FD', '1F3FE', '1F3FF']
const toneOf = (code) => TONES.findIndex((tone) => code.split('-').includes(tone))

/** The candidate files of one artist for one variant of an emoji; the first that exists is taken. */
const artists = {
  noto: (variant) => [`emoji-datasource-google/img/google/64/${variant.image}`],
  twemoji: (variant) => [`emoji-datasource-twitter/img/twitter/64/${variant.image}`],
  'openmoji-color': (variant) => codes(variant).map((code) => `openmoji/color/svg/${code}.svg`),
  'openmoji-black': (variant) => codes(variant).map((code) => `openmoji/black/svg/${code}.svg`),
  'fluent-flat': (variant) => fluent('flat', variant),
  'fluent-modern': (variant) => fluent('modern', variant),
  'fluent-high-contrast': (variant) => fluent('high-contrast', variant),
}
const codes = ({ unified }) => [unified, withoutSelectors(unified)]
const FLUENT_TONES = ['light', 'medium-light', 'medium', 'medium-dark', 'dark']
function fluent(style, { unified, base }) {
  const name = annotations.get(base.unified) ?? annotations.get(withoutSelectors(base.unified))
  if (name === undefined) return []
  const tone = toneOf(unified)
  const stems = tone < 0 ? [slug(name), `${slug(name)}-default`] : [`${slug(name)}-${FLUENT_TONES[tone]}`]
  return stems.map((stem) => `fluentui-emoji/icons/${style}/${stem}.svg`)
}

/**
 * The unseen artist's pictures are shipped and measured on: opaque, so that everything that reads them sees the same, whatever it makes of
 * transparency. The others' keep theirs, for training puts them on grounds of many colours.
 */
const extensionOf = (artist) => (artist === UNSEEN ? 'webp' : 'png')

async function picture(source, target, artist) {
  const image = sharp(source, { density: 300 }).resize(SIZE, SIZE, { fit: 'contain', background: { r: 0, g: 0, b: 0, alpha: 0 } })
  const finished = artist === UNSEEN ? image.flatten({ background: 'white' }).webp({ lossless: true, effort: 6 }) : image.ensureAlpha().png()
  fs.mkdirSync(path.dirname(target), { recursive: true })
  await finished.toFile(target)
}

const index = []
const counts = {}
for (const [done, entry] of emoji.entries()) {
  const variants = [entry, ...Object.values(entry.skin_variations ?? {}).filter((variant) => new Set(TONES.filter((tone) => variant.unified.includes(tone))).size === 1)]
  const pictures = {}
  const drawn = []
  for (const [artist, candidates] of Object.entries(artists)) {
    for (const variant of variants) {
      const source = candidates({ ...variant, base: entry }).map((file) => path.join(packages, file)).find((file) => fs.existsSync(file))
      if (source === undefined) continue
      const file = `${artist}/${variant.unified.toLowerCase()}.${extensionOf(artist)}`
      if (!fs.existsSync(path.join(out, file))) drawn.push(picture(source, path.join(out, file), artist))
      ;(pictures[artist] ??= []).push(file)
    }
    if (pictures[artist]) counts[artist] = (counts[artist] ?? 0) + 1
  }
  await Promise.all(drawn)
  index.push({ code: entry.unified.toLowerCase(), name: entry.name, short: entry.short_names, keywords: keywordsOf(entry.unified), category: entry.category, subcategory: entry.subcategory, pictures })
  if (done % 100 === 0) process.stderr.write(`\r${done} of ${emoji.length} emoji`)
}
fs.writeFileSync(path.join(out, 'index.json'), JSON.stringify(index))
process.stderr.write('\r')
console.log(`${index.length} emoji`, counts)

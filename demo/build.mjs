/**
 * Makes everything under demo/models, demo/saes and demo/datasets again, from the artists' packages to the model cards:
 *
 *   npm run demo:build              goes on where an earlier build was stopped
 *   npm run demo:build -- --fresh   from the beginning
 *
 * Each part is a configuration in demo/configs and a run folder in demo/.runs. The same packages and the same seeds give the same numbers.
 */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { prepare } from '../scripts/prepare.mjs'
import { packDataset } from './dataset.mjs'
import { place } from './place.mjs'

const root = path.resolve(import.meta.dirname, '..')
const demo = (...parts) => path.join(import.meta.dirname, ...parts)

const parts = [
  { title: 'Refract itself', run: () => prepare({ build: true }) },
  { title: "the artists' packages", run: () => fs.existsSync(demo('node_modules')) || command('npm', ['--prefix', 'demo', 'ci']) },
  { title: 'pictures', run: () => command(process.execPath, [demo('pictures.mjs')]) },
  { title: 'the data set of the unseen artist', run: packDataset },
  { title: 'emoji-clip', run: () => train('clip', 'emoji-clip') },
  { title: 'SAEs of emoji-clip', run: () => train('sae', 'emoji-clip-saes') },
  { title: 'what the SAEs are worth on the unseen artist', run: measure },
  { title: 'a toy: shapes, attention only', run: () => train('model', 'shapes-attention-only') },
  { title: 'a toy: shapes, with MLP', run: () => train('model', 'shapes-mlp') },
  { title: 'folders and cards', run: placeAll },
]

const credits =
  'Made from drawings of OpenMoji (CC BY-SA 4.0), Noto Emoji (Apache-2.0) and Fluent Emoji (MIT), measured on Twemoji (CC-BY 4.0); shared under CC BY-SA 4.0.'

const began = performance.now()
const minutes = () => `${((performance.now() - began) / 60_000).toFixed(1)} min`
if (process.argv.includes('--fresh')) for (const made of ['.pictures', '.runs']) fs.rmSync(demo(made), { recursive: true, force: true })
for (const [index, { title, run }] of parts.entries()) {
  process.stderr.write(`\n[${index + 1} of ${parts.length}, ${minutes()}] ${title}\n`)
  await run()
}
process.stderr.write(`\nDone in ${minutes()}.\n`)

/** The command line's own training, with its progress bar; a run that is there is gone on with. */
function train(kind, name) {
  const out = demo('.runs', name)
  const resume = fs.existsSync(out) ? ['--resume'] : []
  return refract('train', kind, '--config', demo('configs', `${name}.yaml`), '--out', out, ...resume)
}

/** Not again of the same weights and pictures by the same code. */
async function measure() {
  const [config, out] = [demo('configs/emoji-clip-measure.yaml'), demo('.runs/emoji-clip-metrics.json')]
  const read = ['.runs/emoji-clip/model', '.runs/emoji-clip-saes/saes', '.pictures/index.json', '.pictures/twemoji', '../dist/engine']
  const hash = hashOf([config, ...read.map((each) => demo(each))])
  const measured = `${out}.of`
  if (fs.existsSync(out) && fs.existsSync(measured) && fs.readFileSync(measured, 'utf8') === hash) return
  await refract('evaluate', '--config', config, '--out', out)
  fs.writeFileSync(measured, hash)
}

/** Of files and folders: their names and contents. */
function hashOf(entries) {
  const hash = createHash('sha256')
  const add = (entry) => {
    if (fs.statSync(entry).isDirectory()) return fs.readdirSync(entry).sort().forEach((name) => add(path.join(entry, name)))
    const bytes = fs.readFileSync(entry)
    hash.update(`${path.relative(root, entry)} ${bytes.length}\n`).update(bytes)
  }
  for (const entry of entries) add(entry)
  return hash.digest('hex')
}

function placeAll() {
  return place({
    models: ['emoji-clip', 'shapes-attention-only', 'shapes-mlp'],
    saes: { run: 'emoji-clip-saes', model: 'emoji-clip', measured: 'emoji-clip-metrics.json', license: 'cc-by-sa-4.0', credits },
  })
}

function refract(...args) {
  return command(process.execPath, [path.join(root, 'scripts/refract.mjs'), ...args])
}

function command(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: 'inherit' })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${path.basename(program)} ${args.join(' ')} ended with ${signal ?? code}`))
    })
  })
}

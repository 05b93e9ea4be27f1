/**
 * The last part of `npm run demo:build`: what the runs in demo/.runs made, as it is shipped. Models go to demo/models/<id>, SAEs to
 * demo/saes/<id>, each with its card and its training curve.
 */

import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const demo = (...parts) => path.join(import.meta.dirname, ...parts)
const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'))
const CURVE = 'curve.svg'
/** Of an SAE's curves, what its card shows. */
const curvesShown = ['loss', 'explainedVariance', 'l0', 'deadShare']

export async function place({ models, saes }) {
  for (const id of models) {
    const run = demo('.runs', id)
    replaceFolder(path.join(run, 'model'), demo('models', id))
    fs.copyFileSync(path.join(run, 'curves.svg'), demo('models', id, CURVE))
    addToCard(demo('models', id), `![The training curve](${CURVE})`)
  }
  await placeSaes(saes)
}

async function placeSaes({ run, model, measured, license, credits }) {
  const { plotCurves } = await import(pathToFileURL(demo('../dist/engine/training/run/plot.js')))
  const curves = readJson(demo('.runs', run, 'curves.json'))
  const { saes, data, ...how } = readJson(demo('.runs', measured))
  fs.rmSync(demo('saes'), { recursive: true, force: true })
  for (const { id, metrics } of saes) {
    const target = demo('saes', id)
    replaceFolder(demo('.runs', run, 'saes', id), target)
    fs.writeFileSync(path.join(target, 'metrics.json'), linesOf({ ...how, dataset: data, metrics }))
    const own = Object.entries(curves).flatMap(([name, values]) => {
      if (name === 'step') return [[name, values]]
      const [own, quantity] = [name.startsWith(`${id}/`), name.slice(id.length + 1)]
      return own && curvesShown.includes(quantity) ? [[quantity, values]] : []
    })
    fs.writeFileSync(path.join(target, CURVE), plotCurves(Object.fromEntries(own), { title: id }))
    fs.writeFileSync(path.join(target, 'README.md'), saeCard({ id, model, metrics, data, license, credits }))
  }
}

/** Metrics that say most, in the order in which one asks for them. */
const shown = ['explained-variance', 'cosine-similarity', 'l0', 'cls-l0', 'patch-l0', 'alive-share', 'ce-recovered', 'kl-recovered']

function saeCard({ id, model, metrics, data, license, credits }) {
  const rows = shown.flatMap((name) => {
    const found = metrics.find(({ metric }) => metric === name)
    if (!found) return []
    const { value, low, high, flags } = found
    const interval = low === undefined ? '' : `${number(low)} to ${number(high)}`
    return [`| ${name} | ${value === null ? '-' : number(value)} | ${interval} | ${flags.join(', ')} |`]
  })
  return `---
license: ${license}
base_model: ${model}
tags: [sparse-autoencoder, emoji]
---

# ${id}

An SAE of \`${model}\`, in SAELens' layout. Measured on ${data.name} (${data.size} pictures, sha256 ${data.hash}), which neither it nor the model was trained on:

| metric | value | 95 % interval | |
|---|---|---|---|
${rows.join('\n')}

All metrics, with the version of the code that measured them: \`metrics.json\`. What each means: docs/metrics.md.

![The training curve](${CURVE})

${credits}
`
}

const number = (value) => Number(value.toPrecision(4)).toString()

function addToCard(folder, text) {
  fs.appendFileSync(path.join(folder, 'README.md'), `\n${text}\n`)
}

function replaceFolder(from, to) {
  fs.rmSync(to, { recursive: true, force: true })
  fs.cpSync(from, to, { recursive: true })
}

/** JSON with a line for each metric. */
function linesOf({ metrics, ...rest }) {
  const lines = metrics.map((metric) => `  ${JSON.stringify(metric)}`)
  return `${JSON.stringify(rest, null, 1).slice(0, -2)},\n "metrics": [\n${lines.join(',\n')}\n ]\n}\n`
}

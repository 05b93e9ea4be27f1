/**
 * The steps of the Dockerfile's CPU image where there is no Docker: copies what it copies and runs what it runs, in a temporary folder, starts what it
 * starts, and asks what its health check asks.
 *
 *   node scripts/try-image.mjs
 */

import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const WAIT_MS = 120_000

const stages = readStages(fs.readFileSync(path.join(root, 'Dockerfile'), 'utf8'))
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'refract-image-'))
try {
  const image = path.join(folder, 'refract')
  fs.mkdirSync(image)
  const { environment: building } = perform(stages.build, image)
  const { environment, entrypoint, command, healthcheck } = perform(stages.cpu, image)
  const port = await freePort()
  const env = { ...inherited(), ...building, ...environment, DATA_DIR: path.join(folder, 'data'), HOST: '127.0.0.1', PORT: String(port) }
  const [program, ...args] = [...entrypoint, ...command]
  const server = spawn(program, args, { cwd: image, env, stdio: 'inherit' })
  const ended = new Promise((resolve) => server.once('exit', resolve))
  try {
    await becomesReady(port, ended)
    const { status } = spawnSync(healthcheck[0], healthcheck.slice(1), { cwd: image, env, stdio: 'inherit' })
    if (status !== 0) throw new Error('the health check fails')
  } finally {
    server.kill('SIGTERM')
  }
  console.log(
    `\nThe image's steps work; it would hold ${Math.round(sizeOf(image) / 2 ** 20)} MB beside Node. It ended with ${await ended}.`,
  )
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}

/** Instructions by stage, lines that are continued joined, comments left out. */
function readStages(text) {
  const lines = text
    .split('\n')
    .filter((line) => !line.trim().startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  const stages = {}
  let own = []
  for (const line of lines) {
    const stage = /^FROM .+ AS (\S+)$/.exec(line)
    if (stage) stages[stage[1]] = own = []
    else own.push(line)
  }
  return stages
}

/** What the instructions say of a process, after doing what they say about files. */
function perform(instructions, image) {
  const made = { environment: {}, entrypoint: [], command: [], healthcheck: [] }
  for (const line of instructions) {
    const [, word, rest] = /^(\w+)\s+(.*)$/.exec(line)
    if (word === 'ENV')
      Object.assign(
        made.environment,
        Object.fromEntries(
          rest
            .trim()
            .split(/\s+/)
            .map((pair) => pair.split('=')),
        ),
      )
    if (word === 'COPY' && !rest.startsWith('--from')) copy(rest.trim().split(/\s+/), image)
    if (word === 'RUN' && !/\/data/.test(rest)) run(rest, image, made.environment)
    if (word === 'ENTRYPOINT') made.entrypoint = JSON.parse(rest)
    if (word === 'CMD') made.command = JSON.parse(rest)
    if (word === 'HEALTHCHECK') made.healthcheck = JSON.parse(rest.slice(rest.indexOf('[')))
  }
  return made
}

function copy(words, image) {
  const to = path.join(image, words.at(-1))
  for (const word of words.slice(0, -1)) {
    const isInto = words.at(-1).endsWith('/') || words.length > 2
    fs.cpSync(path.join(root, word), isInto ? path.join(to, path.basename(word)) : to, {
      recursive: true,
      filter: (file) => !file.startsWith(path.join(root, 'src/generated')),
    })
  }
}

function run(command, cwd, environment) {
  console.log(`\n$ ${command}`)
  const { status } = spawnSync('/bin/sh', ['-c', command], { cwd, env: { ...inherited(), ...environment }, stdio: 'inherit' })
  if (status !== 0) throw new Error(`"${command}" ended with ${status}`)
}

/** Nothing of npm's that started this. */
function inherited() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name) || /registry|proxy|cafile/i.test(name)))
}

async function becomesReady(port, ended) {
  const until = Date.now() + WAIT_MS
  while (Date.now() < until) {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined)
    if (answer?.ok) return
    const over = await Promise.race([ended.then(() => true), new Promise((resolve) => setTimeout(resolve, 500, false))])
    if (over) throw new Error('the server ended before it was ready')
  }
  throw new Error(`the server is not ready after ${WAIT_MS / 1000} s`)
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

function sizeOf(file) {
  const stat = fs.lstatSync(file)
  return stat.isDirectory() ? fs.readdirSync(file).reduce((sum, name) => sum + sizeOf(path.join(file, name)), 0) : stat.size
}

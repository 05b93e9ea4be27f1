/**
 * From a fresh clone to something that runs: installs the packages, generates the database client, compiles. Does only what is missing
 * or stale, judged by content. May be killed at any point and may run several times at once: each step's result is marked done only when
 * it is whole. Plain JavaScript over Node's own modules, because it runs before anything is installed.
 */

import { spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { withLock } from './lock.mjs'

export const root = path.resolve(import.meta.dirname, '..')
const at = (...parts) => path.join(root, ...parts)
const scratch = at('.bootstrap')
const MIN_NODE = [20, 19]
/** What the generated client depends on besides the schema. */
const GENERATORS = ['prisma', '@prisma/client']

/** A step failed; the message is all that a person needs. */
export class PrepareError extends Error {}

/**
 * @param {{ dev?: boolean, build?: boolean }} what `dev`: tests will run, so development packages are needed; `build`: compile to dist
 */
export async function prepare({ dev = false, build = true } = {}) {
  checkNode()
  const steps = [
    { name: 'Installing packages', done: () => isInstalled(dev), run: (heldBy) => install(dev, heldBy) },
    { name: 'Generating the database client', done: () => isStamped(at('src/generated'), generatedFrom()), run: generate },
    ...(build ? [{ name: 'Compiling', done: () => isStamped(at('dist'), builtFrom()), run: compile }] : []),
  ]
  if (steps.every(({ done }) => done())) return
  const waiting = (pid) => say(`Refract: another start (process ${pid}) is preparing; waiting for it.\n`)
  await withLock(path.join(scratch, 'lock'), waiting, async (heldBy) => {
    removeLeftovers()
    for (const { name, done, run } of steps) {
      if (done()) continue
      const start = performance.now()
      say(`Refract: ${name} ... `)
      await run(heldBy)
      say(`${((performance.now() - start) / 1000).toFixed(1)} s\n`)
    }
  })
}

/** On standard error: standard output belongs to the command that runs afterwards. */
const say = (text) => process.stderr.write(text)

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < MIN_NODE[0] || (major === MIN_NODE[0] && minor < MIN_NODE[1])) {
    throw new PrepareError(`Refract needs Node.js ${MIN_NODE.join('.')} or later; this is ${process.versions.node}.`)
  }
}

// --- packages

/** npm writes node_modules/.package-lock.json last: what is installed is compared with what the lock file asks for, entry by entry. */
function isInstalled(dev) {
  const wanted = readJson(at('package-lock.json'))?.packages ?? {}
  const installed = readJson(at('node_modules/.package-lock.json'))?.packages
  if (installed === undefined) return false
  const same = (name) => wanted[name]?.version === installed[name]?.version && wanted[name]?.integrity === installed[name]?.integrity
  const needed = Object.keys(wanted).filter((name) => {
    const { optional, devOptional, dev: onlyDev, peer } = wanted[name]
    return name !== '' && !optional && !devOptional && (dev || !onlyDev) && !(peer && installed[name] === undefined)
  })
  return needed.every(same) && Object.keys(installed).every((name) => same(name) && fs.existsSync(at(name)))
}

async function install(dev, heldBy) {
  fs.rmSync(at('node_modules/.package-lock.json'), { force: true })
  const npm = process.env.npm_execpath
  const [command, ...first] = npm && path.basename(npm).startsWith('npm-cli') ? [process.execPath, npm] : ['npm']
  await run(heldBy, command, [...first, 'ci', '--no-audit', '--no-fund', '--loglevel=error', ...(dev ? ['--include=dev'] : [])], {
    // Everything that runs on a CPU comes with the packages themselves.
    ONNXRUNTIME_NODE_INSTALL: process.env.ONNXRUNTIME_NODE_INSTALL ?? 'skip',
  })
}

// --- the generated client

const generatedFrom = () => {
  const packages = readJson(at('package-lock.json'))?.packages ?? {}
  return hash([
    ...contents('prisma/schema.prisma', 'prisma.config.ts'),
    ...GENERATORS.map((name) => packages[`node_modules/${name}`]?.version),
  ])
}

async function generate(heldBy) {
  const stamp = generatedFrom()
  fs.rmSync(at('src/generated'), { recursive: true, force: true }) // what an older schema generated would be compiled too
  await run(heldBy, process.execPath, [programOf('prisma'), 'generate'], { CHECKPOINT_DISABLE: '1', PRISMA_HIDE_UPDATE_MESSAGE: '1' })
  writeStamp(at('src/generated'), stamp)
}

// --- dist

const builtFrom = () => hash([generatedFrom(), ...contents('package-lock.json', 'tsconfig.json', 'tsconfig.build.json', ...sources())])

/** Everything under src but the generated client. */
function sources() {
  return fs
    .readdirSync(at('src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)))
    .filter((file) => !file.startsWith(path.join('src', 'generated')))
    .sort()
}

/** Into a folder aside, which then takes the place of dist: whoever starts meanwhile sees the old one or the new one. */
async function compile(heldBy) {
  const stamp = builtFrom()
  const aside = path.join(scratch, `dist-${randomUUID()}`)
  // `npm run check` checks the types, which takes ten times as long
  const options = ['--outDir', aside, '--noCheck', '--incremental', 'false']
  await run(heldBy, process.execPath, [programOf('typescript', 'tsc'), '-p', 'tsconfig.build.json', ...options])
  for (const file of sources().filter((name) => !/\.tsx?$/.test(name))) {
    const target = path.join(aside, path.relative('src', file))
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.copyFileSync(at(file), target)
  }
  writeStamp(aside, stamp)
  if (fs.existsSync(at('dist'))) fs.renameSync(at('dist'), path.join(scratch, `old-${randomUUID()}`))
  fs.renameSync(aside, at('dist'))
  removeLeftovers()
}

function removeLeftovers() {
  for (const name of fs.readdirSync(scratch)) {
    if (/^(dist|old)-/.test(name)) fs.rmSync(path.join(scratch, name), { recursive: true, force: true })
  }
}

// --- stamps: what a folder was made from, written when it is whole

const stampOf = (folder) => path.join(folder, '.made-from')
const isStamped = (folder, stamp) => fs.existsSync(stampOf(folder)) && fs.readFileSync(stampOf(folder), 'utf8') === stamp
const writeStamp = (folder, stamp) => fs.writeFileSync(stampOf(folder), stamp)

/** Each file's name and content. */
const contents = (...files) => files.flatMap((file) => [file, fs.existsSync(at(file)) ? fs.readFileSync(at(file)) : ''])

function hash(parts) {
  const sha256 = createHash('sha256')
  for (const part of parts) sha256.update(`${Buffer.byteLength(part ?? '')}:`).update(part ?? '')
  return sha256.digest('hex')
}

function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

// --- programs

/** The script behind a package's command: no shell, no `.cmd` on Windows. */
function programOf(packageName, command = packageName) {
  const { bin } = readJson(at('node_modules', packageName, 'package.json'))
  return at('node_modules', packageName, typeof bin === 'string' ? bin : bin[command])
}

/** Runs a step; what it prints is shown only when it fails. Ctrl-C ends it and us. */
async function run(heldBy, command, args, env = {}) {
  const shell = process.platform === 'win32' && command === 'npm'
  // Prisma looks its generators up by name, which npm alone would make findable.
  const PATH = [at('node_modules/.bin'), process.env.PATH].join(path.delimiter)
  const child = spawn(command, args, { cwd: root, env: { ...process.env, PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'], shell })
  if (child.pid !== undefined) heldBy(child.pid)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output += chunk
    })
  }
  const { code } = await finished(child)
  if (code !== 0) throw new PrepareError(`failed.\n\n${output.trim()}\n\nThe command was: ${[path.basename(command), ...args].join(' ')}`)
}

/**
 * Waits for a child and passes SIGINT and SIGTERM on to it; when one came, this process ends with it, once the child has.
 *
 * @returns {Promise<{ code: number }>}
 */
export async function finished(child) {
  let signalled
  const forward = (signal) => {
    signalled ??= signal
    child.kill(signal)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
  for (const signal of signals) process.on(signal, forward)
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject)
      // after a signal without waiting for the last output: children of the child may hold on to it
      child.once('exit', (status, signal) => signalled && resolve(status ?? 128 + (os.constants.signals[signal] ?? 0)))
      child.once('close', (status, signal) => resolve(status ?? 128 + (os.constants.signals[signal] ?? 0)))
    })
    if (signalled !== undefined) process.exit(128 + os.constants.signals[signalled])
    return { code }
  } finally {
    for (const signal of signals) process.off(signal, forward)
  }
}

/** Prepares, then runs `body`, and turns a step's failure into its message and exit code 1. */
export async function preparedThen(what, body) {
  endWithNpm()
  try {
    await prepare(what)
  } catch (error) {
    if (!(error instanceof PrepareError)) throw error
    console.error(error.message)
    process.exit(1)
  }
  await body()
}

/** npm that is killed leaves what it runs behind, holding the port: that ends with it, in order. */
function endWithNpm() {
  if (process.env.npm_lifecycle_event === undefined) return
  const npm = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === npm) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 250).unref()
}

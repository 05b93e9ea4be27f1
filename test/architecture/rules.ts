/**
 * The shape of the house as functions over source text, so that each rule can be tested to fail: which room may import which, no
 * circles, no file too long, no drawer names, no environment and no console inside the engine.
 */

import fs from 'node:fs'
import path from 'node:path'

export interface SourceFile {
  /** Relative to `src`, with forward slashes: `engine/graph/edit.ts`. */
  readonly path: string
  readonly text: string
}

/** Room -> the rooms it may import from, itself included. Rooms are listed from the ground up. */
const doors: readonly (readonly [room: string, mayImport: readonly string[]])[] = [
  ['engine/ground', ['engine/ground']], // tensor, errors, nearest, random
  ['engine/graph', ['engine/ground', 'engine/graph']],
  ['engine/io', ['engine/ground', 'engine/io']],
  ['engine/image', ['engine/ground', 'engine/image']],
  ['engine/plots', ['engine/ground', 'engine/plots']],
  ['engine/backends', ['engine/ground', 'engine/graph', 'engine/backends']],
  ['engine/hook-points', ['engine/ground', 'engine/graph', 'engine/hook-points', 'engine/models/model']],
  ['engine/models/model', ['engine/ground', 'engine/graph', 'engine/image', 'engine/models/model']],
  [
    'engine/models',
    ['engine/ground', 'engine/graph', 'engine/io', 'engine/image', 'engine/hook-points', 'engine/models/model', 'engine/models'],
  ],
  [
    'engine/interventions',
    ['engine/ground', 'engine/graph', 'engine/hook-points', 'engine/models/model', 'engine/models', 'engine/saes', 'engine/interventions'],
  ],
  [
    'engine/analyses',
    [
      'engine/ground',
      'engine/graph',
      'engine/plots',
      'engine/backends',
      'engine/hook-points',
      'engine/models/model',
      'engine/models',
      'engine/saes',
      'engine/interventions',
      'engine/analyses',
    ],
  ],
  ['engine/saes', ['engine/ground', 'engine/graph', 'engine/io', 'engine/hook-points', 'engine/models/model', 'engine/saes']],
  ['engine/datasets', ['engine/ground', 'engine/image', 'engine/models/model', 'engine/models', 'engine/datasets']],
  [
    'engine/training',
    [
      'engine/ground',
      'engine/graph',
      'engine/io',
      'engine/image',
      'engine/datasets',
      'engine/plots',
      'engine/backends', // its contract: no concrete backend, see backendLeaks
      'engine/hook-points',
      'engine/models/model',
      'engine/models',
      'engine/saes',
      'engine/training',
    ],
  ],
  [
    'engine/evaluation',
    [
      'engine/ground',
      'engine/image',
      'engine/datasets',
      'engine/graph',
      'engine/io',
      'engine/backends', // its contract, as training
      'engine/hook-points',
      'engine/models/model',
      'engine/models',
      'engine/saes',
      'engine/evaluation',
    ],
  ],
  [
    'engine/host',
    [
      'engine/ground',
      'engine/graph',
      'engine/io',
      'engine/image',
      'engine/backends',
      'engine/hook-points',
      'engine/models/model',
      'engine/models',
      'engine/interventions',
      'engine/saes',
      'engine/analyses',
      'engine/host',
    ],
  ],
]

const outerDoors: Record<string, readonly string[]> = {
  generated: [],
  config: ['config', 'engine'],
  catalog: ['catalog', 'config', 'engine', 'generated'],
  operations: ['operations', 'catalog', 'config', 'engine'],
  server: ['server', 'graphql', 'operations', 'catalog', 'config', 'engine', 'version'],
  graphql: ['graphql', 'operations', 'catalog', 'config', 'engine', 'generated'],
  cli: ['cli', 'server', 'graphql', 'operations', 'catalog', 'config', 'engine'],
}

const drawerNames = /(^|\/)(utils?|helpers?|common|misc|tools|manager|service)(\.ts|\/)/
/** Tables may be long. */
const longTables: readonly string[] = []
const MAX_LINES = 500

export function readSources(src: string): SourceFile[] {
  return fs
    .readdirSync(src, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => !file.includes(`${path.sep}generated${path.sep}`))
    .map((file) => ({ path: path.relative(src, file).split(path.sep).join('/'), text: fs.readFileSync(file, 'utf8') }))
}

/** Paths (relative to `src`) of the project's own files that a file imports, types included. */
export function importsOf(file: SourceFile): string[] {
  const specifiers = [...file.text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) => match[1]!)
  return specifiers.map((specifier) => path.posix.join(path.posix.dirname(file.path), specifier).replace(/\.js$/, '.ts'))
}

function engineRoom(file: string): string {
  const rest = file.slice('engine/'.length)
  if (!rest.includes('/')) return rest === 'hook-points.ts' ? 'engine/hook-points' : 'engine/ground'
  if (rest === 'models/model.ts') return 'engine/models/model'
  return `engine/${rest.split('/')[0]}`
}

const outerRoom = (file: string) => file.split('/')[0]!.replace(/\.ts$/, '')

/** Imports that go through a wall: `a.ts -> b.ts`. */
export function forbiddenImports(files: readonly SourceFile[]): string[] {
  return files.flatMap((file) =>
    importsOf(file)
      .filter((target) => !isAllowed(file.path, target))
      .map((target) => `${file.path} -> ${target}`),
  )
}

function isAllowed(from: string, to: string): boolean {
  if (!from.startsWith('engine/')) return outerDoors[outerRoom(from)]?.includes(outerRoom(to)) ?? false
  if (!to.startsWith('engine/')) return false
  const allowed = doors.find(([room]) => room === engineRoom(from))?.[1]
  return allowed?.includes(engineRoom(to)) ?? false
}

/** Circles among files that matter at run time; `import type` makes none. Each circle once, as `a -> b -> a`. */
export function circles(files: readonly SourceFile[]): string[] {
  const runtime = new Map(
    files.map((file) => [file.path, importsOf({ ...file, text: file.text.replace(/^(?:import|export) type [\s\S]*?from '[^']+'/gm, '') })]),
  )
  const found: string[] = []
  const done = new Set<string>()
  const visit = (file: string, trail: readonly string[]) => {
    if (trail.includes(file)) {
      found.push([...trail.slice(trail.indexOf(file)), file].join(' -> '))
      return
    }
    if (done.has(file)) return
    for (const target of runtime.get(file) ?? []) visit(target, [...trail, file])
    done.add(file)
  }
  for (const file of runtime.keys()) visit(file, [])
  return found
}

export function tooLong(files: readonly SourceFile[]): string[] {
  return files
    .map((file) => ({ path: file.path, lines: file.text.split('\n').length }))
    .filter(({ path, lines }) => lines > MAX_LINES && !longTables.includes(path))
    .map(({ path, lines }) => `${path}: ${lines} lines`)
}

export function drawers(files: readonly SourceFile[]): string[] {
  return files.map((file) => file.path).filter((file) => drawerNames.test(file))
}

/** The engine is pure: no environment, no console. */
export function impurities(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => file.path.startsWith('engine/'))
    .filter((file) => /\bprocess\.env\b|\bconsole\.\w+\(/.test(file.text))
    .map((file) => file.path)
}

/** Only the host names a concrete backend. */
export function backendLeaks(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => !file.path.startsWith('engine/backends/') && !file.path.startsWith('engine/host/'))
    .filter((file) => importsOf(file).some((target) => /^engine\/backends\/(?!backend\.ts)/.test(target)))
    .map((file) => file.path)
}

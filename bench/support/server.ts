/**
 * A server as `npm start` runs it: the same command line, an embedded database, a data folder of its own, ViT-B/32 imported by the command line.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { serverEnvironment } from './backend.js'
import { sharedFolder } from './settings.js'
import { modelFolder } from './vit-b-32.js'

const root = path.resolve(import.meta.dirname, '..', '..')

export interface ServedModel {
  readonly origin: string
  readonly pid: number
  readonly dataDir: string
  /** The imported model's id. */
  readonly model: string
}

/**
 * Starts a server, runs `body`, and ends the server also when `body` throws.
 * @param saes     folders of SAEs of the model, imported under these ids
 * @param prepare  what is done to the data folder before the server starts
 */
export async function withServer<T>(
  body: (served: ServedModel) => Promise<T>,
  { saes = {}, prepare }: { readonly saes?: Readonly<Record<string, string>>; readonly prepare?: (dataDir: string) => void } = {},
): Promise<T> {
  const dataDir = fs.mkdtempSync(path.join(sharedFolder(), 'data-'))
  const env = { ...process.env, ...serverEnvironment(), DATA_DIR: dataDir, PORT: '0', HOST: '127.0.0.1', DATABASE_URL: '' }
  const model = 'clip-vit-b-32-random'
  try {
    runCommand(['import', modelFolder(sharedFolder()), '--id', model], env)
    for (const [id, folder] of Object.entries(saes)) runCommand(['import', folder, '--id', id, '--model', model], env)
    prepare?.(dataDir)
    const server = start(env)
    try {
      return await body({ origin: await whenReady(server), pid: server.pid!, dataDir, model })
    } finally {
      const ended = server.exitCode === null && server.signalCode === null ? once(server, 'exit') : undefined
      server.kill('SIGTERM')
      await ended
    }
  } finally {
    fs.rmSync(dataDir, { recursive: true, force: true })
  }
}

function runCommand(command: readonly string[], env: NodeJS.ProcessEnv): void {
  const args = [path.join(root, 'scripts/refract.mjs'), ...command]
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' })
  if (status !== 0) throw new Error(`refract ${command.join(' ')} failed: ${stderr.slice(-2000)}`)
}

/** By package.json's own line. With npm's variable set, the server ends when this process does, as it does when npm is killed. */
function start(env: NodeJS.ProcessEnv): ChildProcess {
  const { scripts } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as { scripts: { start: string } }
  return spawn(scripts.start, {
    cwd: root,
    shell: true,
    env: { ...env, npm_lifecycle_event: 'start' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

/** The address in the banner. */
async function whenReady(server: ChildProcess): Promise<string> {
  let banner = ''
  for await (const chunk of server.stdout!) {
    banner += chunk
    const [, origin] = /ready at (http:\S+)/.exec(banner) ?? []
    if (origin) return origin
  }
  throw new Error(`The server did not start.${banner}`)
}

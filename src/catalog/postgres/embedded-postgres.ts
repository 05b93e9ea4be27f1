/**
 * A real PostgreSQL of one's own, from npm, inside DATA_DIR/postgres:
 *
 *     lock           held while the server is being made, started or stopped
 *     users/         one file for each process that uses the server; the last one to leave stops it
 *     cluster/       data/ and the password, made aside and renamed: there or not there, never half
 *     server.log
 *
 * Any process may be killed at any point. A server whose starter died is adopted by the next one; a server that died recovers when it is
 * started again, and while someone uses it, it is watched and started again on the same port.
 */

import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { EngineError } from '../../engine/errors.js'
import { isStorageFull } from '../../engine/io/storage-errors.js'
import { isAlive, processIdentity, withLock } from '../process-lock.js'
import { type Account, type PostgresBinaries, postgresAccount, postgresBinaries } from './binaries.js'
import { clearMistakenPidFile, runningPostmaster } from './postmaster.js'

const run = promisify(execFile)

const USER = 'postgres'
/** Crash recovery after a long write load takes a while; a server that needs longer than this is not coming. */
const START_SECONDS = 120
const STOP_SECONDS = 60
/** A dead server's children leave within about a second of its death. */
const ORPHANS_MS = 15_000
const LOCK_MS = 180_000
const WATCH_MS = 1000
const MAX_LOG_BYTES = 16 * 2 ** 20
/** Nobody replicates this server, so that its log need not say how. */
const WITHOUT_REPLICAS = ['wal_level=minimal', 'max_wal_senders=0']
const SETTINGS = ['listen_addresses=127.0.0.1', "unix_socket_directories=''", 'max_connections=60', ...WITHOUT_REPLICAS]

export interface EmbeddedPostgres {
  readonly url: string
  readonly port: number
  /** True when a server was already running, left by a process that died or shared with one that lives. */
  readonly adopted: boolean
  /** True when the cluster was made now. */
  readonly initialised: boolean
  /** Leaves the server; the last one to leave stops it. True when it was stopped. */
  stop(): Promise<boolean>
}

export interface EmbeddedOptions {
  /** DATA_DIR. */
  readonly dataDir: string
  readonly onProgress?: (message: string) => void
  readonly account?: Account
}

/** @throws DATABASE_UNAVAILABLE, STORAGE_FULL */
export async function startEmbeddedPostgres({ dataDir, onProgress = () => {}, account }: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const root = path.resolve(dataDir, 'postgres')
  fs.mkdirSync(path.join(root, 'users'), { recursive: true })
  const server = new Server(root, await postgresBinaries(), account ?? postgresAccount())
  const me = path.join(root, 'users', `${process.pid}-${randomUUID()}`)
  const locked = <T>(body: () => Promise<T>) => withLock(path.join(root, 'lock'), { timeoutMs: LOCK_MS }, body)

  const { port, adopted, initialised } = await locked(async () => {
    const made = await server.ensureCluster()
    const started = await server.ensureRunning()
    fs.writeFileSync(me, processIdentity(process.pid) ?? '')
    return { ...started, initialised: made }
  })

  let restarting = false
  let stopping = false
  const watch = setInterval(async () => {
    if (server.isRunning() || restarting) return
    restarting = true
    try {
      await locked(async () => {
        if (stopping || server.isRunning()) return
        onProgress('The embedded PostgreSQL stopped; starting it again.')
        await server.ensureRunning(port)
      })
    } catch (error) {
      onProgress((error as Error).message)
    } finally {
      restarting = false
    }
  }, WATCH_MS).unref()

  return {
    url: server.url(port),
    port,
    adopted,
    initialised,
    async stop() {
      stopping = true
      clearInterval(watch)
      const leave = async () => {
        fs.rmSync(me, { force: true })
        if (othersIn(path.join(root, 'users'))) return false
        await server.stop()
        return true
      }
      // a full disk has no room for the lock, and must not keep the database running
      return locked(leave).catch((error: unknown) => (isStorageFull(error) ? leave() : Promise.reject(error)))
    },
  }
}

/** True when a living process uses the server; files of dead ones are removed. */
function othersIn(users: string): boolean {
  return fs
    .readdirSync(users)
    .filter((name) => {
      const file = path.join(users, name)
      const alive = isAlive(fs.readFileSync(file, 'utf8'))
      if (!alive) fs.rmSync(file, { force: true })
      return alive
    })
    .some(Boolean)
}

/** One cluster and the programs that work on it. Every method but `url` and `isRunning` needs the lock. */
class Server {
  readonly #cluster: string
  readonly #data: string
  readonly #log: string
  readonly #binaries: PostgresBinaries
  readonly #account: Account

  constructor(root: string, binaries: PostgresBinaries, account: Account) {
    this.#cluster = path.join(root, 'cluster')
    this.#data = path.join(this.#cluster, 'data')
    this.#log = path.join(root, 'server.log')
    this.#binaries = binaries
    this.#account = account
    if (account.owner) fs.chownSync(root, account.owner.uid, account.owner.gid)
  }

  url(port: number): string {
    const password = fs.readFileSync(path.join(this.#cluster, 'password'), 'utf8')
    return `postgresql://${USER}:${password}@127.0.0.1:${port}/${USER}`
  }

  isRunning(): boolean {
    return runningPostmaster(this.#data) !== undefined
  }

  /** Makes the cluster aside and renames it. True when it was made now. */
  async ensureCluster(): Promise<boolean> {
    const root = path.dirname(this.#cluster)
    for (const name of fs.readdirSync(root)) {
      if (name.startsWith('making-')) fs.rmSync(path.join(root, name), { recursive: true, force: true })
    }
    if (fs.existsSync(this.#cluster)) {
      await this.#checkVersion()
      return false
    }
    const making = path.join(root, `making-${randomUUID()}`)
    const password = path.join(making, 'password')
    try {
      fs.mkdirSync(making, { mode: 0o700 })
      fs.writeFileSync(password, randomBytes(24).toString('base64url'), { mode: 0o600 })
      if (this.#account.owner) for (const file of [making, password]) fs.chownSync(file, this.#account.owner.uid, this.#account.owner.gid)
      await this.#exec(this.#binaries.initdb, [
        ...['-D', path.join(making, 'data'), '-U', USER, '-A', 'scram-sha-256', '--pwfile', password],
        ...['-E', 'UTF8', '--locale=C', '--no-instructions'],
      ])
      fs.renameSync(making, this.#cluster)
      return true
    } catch (error) {
      fs.rmSync(making, { recursive: true, force: true })
      throw this.#refusal('be made', (error as { stderr?: string }).stderr || (error as Error).message)
    }
  }

  /** Adopts the server that runs, or starts one. `port`: insist on this one. */
  async ensureRunning(port?: number): Promise<{ port: number; adopted: boolean }> {
    const running = await this.#adopt()
    if (running !== undefined) return { port: running, adopted: true }
    const end = Date.now() + ORPHANS_MS
    for (let attempt = 1; ; attempt++) {
      const chosen = port ?? (await freePort())
      const problem = clearMistakenPidFile(this.#data)
        ? await this.#start(chosen)
        : 'processes of an earlier server still have its data open'
      if (problem === undefined) return { port: chosen, adopted: false }
      const portTaken = /could not bind|Address already in use/i.test(problem)
      const orphans = /still have its data open|pre-existing shared memory|lock file .* already exists/i.test(problem)
      if (!(portTaken && port === undefined && attempt < 5) && !(orphans && Date.now() < end)) throw this.#refusal('start', problem)
      if (orphans) await sleep(250)
    }
  }

  async stop(): Promise<void> {
    if (!this.isRunning()) return
    const how = (mode: string) => ['stop', '-D', this.#data, '-m', mode, '-w', '-t', String(STOP_SECONDS), '-s']
    try {
      await this.#exec(this.#binaries.pg_ctl, how('fast'))
    } catch {
      if (this.isRunning()) await this.#exec(this.#binaries.pg_ctl, how('immediate'))
    }
  }

  /** The port of a server that runs and answers to our password; undefined when none runs. */
  async #adopt(): Promise<number | undefined> {
    const end = Date.now() + START_SECONDS * 1000
    for (;;) {
      const running = runningPostmaster(this.#data)
      if (running === undefined) return undefined
      const problem = running.port === undefined ? 'it is starting' : await this.#connect(running.port)
      if (problem === undefined) return running.port
      if (Date.now() > end) throw this.#refusal('answer', `process ${running.pid} runs on its data, but: ${problem}`)
      await sleep(100)
    }
  }

  /** Undefined when the server at `port` answers and works on this cluster. */
  async #connect(port: number): Promise<string | undefined> {
    const sql = postgres(this.url(port), { max: 1, connect_timeout: 5, onnotice: () => {} })
    try {
      const [row] = await sql<{ folder: string }[]>`select current_setting('data_directory') as folder`
      if (row && fs.realpathSync(row.folder) === fs.realpathSync(this.#data)) return undefined
      return `the server on port ${port} works on ${row?.folder}`
    } catch (error) {
      return (error as Error).message
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  /** Undefined when it started; what it said otherwise. */
  async #start(port: number): Promise<string | undefined> {
    const logged = this.#trimLog()
    const settings = [`-p ${port}`, ...SETTINGS.map((setting) => `-c ${setting}`)].join(' ')
    try {
      await this.#exec(this.#binaries.pg_ctl, [
        ...['start', '-D', this.#data, '-w', '-t', String(START_SECONDS), '-s', '-l', this.#log],
        ...['-o', settings],
      ])
      return undefined
    } catch (error) {
      const said = fs.existsSync(this.#log) ? fs.readFileSync(this.#log).subarray(logged).toString('utf8') : ''
      return `${(error as { stderr?: string }).stderr || (error as Error).message}\n${said.trimEnd().split('\n').slice(-8).join('\n')}`
    }
  }

  /** The log's length after it was cut when it had grown too long. */
  #trimLog(): number {
    const length = fs.existsSync(this.#log) ? fs.statSync(this.#log).size : 0
    if (length <= MAX_LOG_BYTES) return length
    fs.truncateSync(this.#log, 0)
    return 0
  }

  async #checkVersion(): Promise<void> {
    const made = fs.readFileSync(path.join(this.#data, 'PG_VERSION'), 'utf8').trim()
    const { stdout } = await this.#exec(this.#binaries.postgres, ['--version'])
    const installed = /(\d+)/.exec(stdout)?.[1]
    if (made !== installed) {
      throw this.#refusal(
        'be used',
        `its data was made by PostgreSQL ${made}, and ${installed} is installed; dump it with the one and load it with the other`,
      )
    }
  }

  #exec(program: string, programArgs: readonly string[]): Promise<{ stdout: string; stderr: string }> {
    const { file, args } = this.#account.command(program, programArgs)
    // PGDATA, PGPORT, PGOPTIONS and the like are about someone else's server
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))
    return run(file, [...args], {
      ...this.#account.owner,
      cwd: path.parse(this.#cluster).root,
      env: { ...Object.fromEntries(inherited), LC_ALL: 'C' },
    })
  }

  #refusal(verb: string, problem: string): EngineError {
    if (/No space left on device/i.test(problem)) return new EngineError('STORAGE_FULL', { path: this.#cluster })
    return new EngineError('DATABASE_UNAVAILABLE', {
      problem: `the embedded PostgreSQL in ${this.#cluster} could not ${verb}: ${problem.trim()}`,
      instead: `Its log is ${this.#log}. To use another PostgreSQL, set DATABASE_URL.`,
    })
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as net.AddressInfo
      probe.close(() => resolve(port))
    })
  })
}

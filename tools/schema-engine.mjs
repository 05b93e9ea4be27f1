#!/usr/bin/env node
/**
 * Prisma's schema engine without the native binary that Prisma downloads: the same JSON-RPC on stdio and the same `cli` sub-commands,
 * served by the WebAssembly build of that engine (`@prisma/schema-engine-wasm`) over node-postgres.
 *
 * `prisma.config.ts` names this file in PRISMA_SCHEMA_ENGINE_BINARY. `prisma generate` only needs the file to exist; `migrate`, `db` and
 * `diff` run it. For development only: the server applies migrations itself (`src/catalog/migrate.ts`).
 */

import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils'
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg'
import pg from 'pg'

const args = process.argv.slice(2)
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined)

const datasource = option('--datasource')
const connection = datasource === undefined ? undefined : connectionOf(JSON.parse(datasource).url)

if (args.includes('--version')) console.log('schema-engine-cli wasm')
else if (args.includes('cli')) await runCommand(option('cli'), connection)
else serve()

/** Never a connection string: in node-postgres it would win over the shadow database's `database`. */
function connectionOf(url) {
  const { hostname, port, username, password, pathname, search } = new URL(url)
  return {
    host: hostname,
    port: Number(port) || 5432,
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
    ssl: /sslmode=(require|verify)/.test(search) || undefined,
  }
}

/** The sub-commands that Prisma runs before it speaks JSON-RPC: does the database answer, create it, drop it. */
async function runCommand(command, target) {
  const prismaCodes = { '3D000': 'P1003', '28P01': 'P1000' }
  try {
    const client = new pg.Client(command === 'can-connect-to-database' ? target : { ...target, database: 'postgres' })
    await client.connect()
    const database = client.escapeIdentifier(target.database)
    if (command === 'create-database') await client.query(`CREATE DATABASE ${database}`)
    if (command === 'drop-database') await client.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`)
    await client.end()
  } catch (error) {
    const fields = { error_code: prismaCodes[error.code] ?? 'P1001', message: error.message }
    process.stderr.write(`\n${JSON.stringify({ level: 'ERROR', target: 'schema_engine::logger', fields })}`)
    process.exitCode = 1
  }
}

/** Two things that the engine needs and the adapter does otherwise. */
function repaired(adapter) {
  const performIO = adapter.performIO.bind(adapter)
  const queryRaw = adapter.queryRaw.bind(adapter)
  const CHAR_OID = 18
  const BPCHAR_OID = 1042
  let charColumns = []
  // The adapter does not know "char", the type of the system catalog's one-letter codes: read as text, reported as Character.
  adapter.performIO = async (query) => {
    const result = await performIO(query)
    charColumns = []
    result.fields?.forEach((field, index) => {
      if (field.dataTypeID !== CHAR_OID) return
      field.dataTypeID = BPCHAR_OID
      charColumns.push(index)
    })
    return result
  }
  adapter.queryRaw = async (query) => {
    const result = await queryRaw(query)
    for (const index of charColumns) result.columnTypes[index] = ColumnTypeEnum.Character
    return result
  }
  // The adapter splits a script at every semicolon, also inside functions: run it whole.
  adapter.executeScript = async (script) => {
    try {
      await adapter.client.query(script)
    } catch (error) {
      adapter.onError(error)
    }
  }
  return adapter
}

class AdapterFactory extends PrismaPg {
  async connect() {
    return repaired(await super.connect())
  }

  /** The adapter's own drops the shadow database while it is still connected to it. */
  async connectToShadowDb() {
    const admin = await this.connect()
    const database = `prisma_shadow_${crypto.randomUUID().replaceAll('-', '')}`
    await admin.executeScript(`CREATE DATABASE "${database}"`)
    const shadow = repaired(await new PrismaPg({ ...this.config, database }).connect())
    const release = shadow.dispose.bind(shadow)
    shadow.dispose = async () => {
      await release()
      await admin.executeScript(`DROP DATABASE "${database}" WITH (FORCE)`)
      await admin.dispose()
    }
    return shadow
  }
}

function instantiate() {
  globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (message) => process.stderr.write(`${message}\n`) }
  const folder = path.dirname(createRequire(import.meta.url).resolve('@prisma/schema-engine-wasm/schema_engine_bg'))
  const module = new WebAssembly.Module(fs.readFileSync(path.join(folder, 'schema_engine_bg.wasm')))
  const { exports } = new WebAssembly.Instance(module, { './schema_engine_bg.js': bindings })
  bindings.__wbg_set_wasm(exports)
  exports.__wbindgen_start()
}

/** JSON-RPC on stdio, one message a line, one call at a time. */
function serve() {
  instantiate()
  const schemas = args.flatMap((arg, index) => (args[index - 1] === '--datamodels' ? [[arg, fs.readFileSync(arg, 'utf8')]] : []))
  const datamodels = schemas.length > 0 ? schemas : [['schema.prisma', 'datasource db { provider = "postgresql" }']]
  // The engine connects as soon as it is made: not before the first call.
  let engine
  const started = () => {
    engine ??= bindings.SchemaEngine.new(
      { datamodels },
      () => {},
      bindMigrationAwareSqlAdapterFactory(new AdapterFactory(connection ?? {})),
    )
    return engine
  }
  const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  let printId = 1_000_000

  async function answer({ id, method, params }) {
    if (method === undefined) return // the reply to a `print` of ours
    try {
      const running = await started()
      let result = await running[method === 'getDatabaseVersion' ? 'version' : method](params)
      if (method === 'diff') {
        if (result.stdout) send({ id: ++printId, method: 'print', params: { content: result.stdout } })
        result = { exitCode: result.exitCode, stdout: null }
      }
      send({ id, result: result ?? {} })
    } catch (error) {
      const data = {
        is_panic: error instanceof WebAssembly.RuntimeError,
        message: error.message,
        error_code: error.code,
        meta: error.meta ?? {},
      }
      send({ id, error: { code: 4466, message: 'An error happened. Check the data field for details.', data } })
    }
  }

  // Prisma exits 0 with no output when its engine dies silently.
  process.on('uncaughtException', (error) => {
    process.stderr.write(String(error.stack))
    process.exit(101)
  })
  let queue = Promise.resolve()
  readline
    .createInterface({ input: process.stdin })
    .on('line', (line) => {
      queue = queue.then(() => answer(JSON.parse(line)))
    })
    .on('close', () => queue.then(() => process.exit(0)))
}

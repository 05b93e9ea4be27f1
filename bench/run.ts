/**
 * `npm run bench [-- <names>]`: each benchmark in a process of its own, one after the other, over one folder that they share and that
 * goes with them. `BENCH_SECONDS` is the time for each candidate, `BENCH_PYTHON` a Python with torch for the peers; `REFRACT_DEVICE` and
 * `REFRACT_PRECISION` say what ours run on. The peers run on the CPU, those of
 * `device` on the same device.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

const known = fs
  .readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => path.basename(file, '.ts'))
const names = process.argv.length > 2 ? process.argv.slice(2) : known
const unknown = names.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(', ')}; there are ${known.join(', ')}.`)
  process.exit(2)
}

// The folder must go and a server must stop also when somebody loses patience: whoever is running ends first, then we do.
const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'refract-bench-'))
try {
  for (const name of names) {
    if (stop.signal.aborted) break
    const code = await run(path.join(import.meta.dirname, `${name}.ts`))
    if (code === 0) continue
    process.exitCode = 1
    console.error(`${name} failed.`)
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
if (stop.signal.aborted) process.exit(130)

async function run(file: string): Promise<number | null> {
  const child = spawn(process.execPath, ['--import', 'tsx', file], { stdio: 'inherit', env: { ...process.env, BENCH_FOLDER: folder } })
  const end = () => child.kill()
  stop.signal.addEventListener('abort', end)
  const [code] = (await once(child, 'close')) as [number | null]
  stop.signal.removeEventListener('abort', end)
  return code
}

import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Catalog } from '../../src/catalog/catalog.js'
import { createTestCatalog } from '../catalog/test-database.js'
import { runCli, startCli } from './run-cli.js'

const MODEL = path.resolve(import.meta.dirname, '../fixtures/models/hf-vit-classifier')

let catalog: Catalog
let close: () => Promise<void>
let env: Record<string, string>
beforeAll(async () => {
  const made = await createTestCatalog()
  catalog = made.catalog
  close = made.close
  env = { DATABASE_URL: made.database.url, DATA_DIR: made.database.dataDir }
})
afterAll(() => close())
beforeEach(async () => {
  await catalog.prisma.$executeRaw`delete from jobs`
})

async function anImport(source = MODEL, id = 'tiny'): Promise<string> {
  const { dataFolder: place } = catalog.places
  return (await catalog.jobs.create({ kind: 'import', input: { source, id }, lane: 'transfer', place, uses: [] })).job.id
}
const stateOf = async (id: string) => (await catalog.jobs.get(id))?.state

describe('jobs', () => {
  test('are listed, newest first, all of them or those in one state', async () => {
    expect(await runCli(['jobs', 'list'], env)).toMatchObject({ code: 0, out: 'There are no jobs.\n' })
    const [older, newer] = [await anImport(), await anImport(MODEL, 'other')]
    await catalog.jobs.cancel(older)
    const { out } = await runCli(['jobs', 'list'], env)
    expect(out).toMatch(new RegExp(`^${newer} +import +queued +0 %.*\n${older} +import +cancelled`, 'm'))
    const cancelled = await runCli(['jobs', 'list', '--state', 'cancelled', '--json'], env)
    expect(JSON.parse(cancelled.out)).toMatchObject([{ id: older, state: 'cancelled', input: { source: MODEL } }])
    expect(await runCli(['jobs', 'list', '--state', 'done'], env)).toMatchObject({ code: 2, err: expect.stringContaining('succeeded') })
  })

  test('are stopped and resumed by their id', async () => {
    const id = await anImport()
    expect(await runCli(['jobs', 'resume', id], env)).toMatchObject({ code: 2, err: expect.stringContaining(`${id} is queued`) })
    expect(await runCli(['jobs', 'cancel', id], env)).toMatchObject({ code: 0, out: `${id} is cancelled.\n` })
    expect(await stateOf(id)).toBe('cancelled')
    expect(await runCli(['jobs', 'watch', id], env)).toMatchObject({ code: 1, err: expect.stringContaining('was cancelled') })
    expect(await runCli(['jobs', 'resume', id], env)).toMatchObject({ code: 0, out: `${id} is queued.\n` })
    expect(await stateOf(id)).toBe('queued')
  })

  test.each(['show', 'watch', 'cancel', 'resume'])('that there are none of cannot be asked to %s', async (command) => {
    const { code, err } = await runCli(['jobs', command, 'no-such-job'], env)
    expect([code, err]).toEqual([2, expect.stringContaining('There is no job "no-such-job"')])
  })
})

describe('jobs run', () => {
  const write = async (text: string) => {
    const file = path.join(env.DATA_DIR!, 'job.yaml')
    await fs.writeFile(file, text)
    return file
  }

  test('begins a job with the input that a file has, and says its id', async () => {
    const file = await write(`source: ${MODEL}\nid: from-a-file\n`)
    const { code, out } = await runCli(['jobs', 'run', 'import', '--config', file], env)
    expect(code).toBe(0)
    expect(await catalog.jobs.get(out.trim())).toMatchObject({
      kind: 'import',
      state: 'queued',
      input: { source: MODEL, id: 'from-a-file' },
    })
  })

  test.each([
    ['a kind that there is none of', 'evalute', 'x: 1', 2, 'Did you mean "evaluate"?'],
    ['a field that there is none of', 'import', 'sauce: x', 1, 'sauce'],
    ['an SAE that nobody knows', 'index', 'model: nobody\nsaes: [x]\ndataset: none', 1, 'input.saes[0]'],
  ])('refuses %s, and makes no job', async (_, kind, text, code, message) => {
    const refused = await runCli(['jobs', 'run', kind, '--config', await write(text)], env)
    expect(refused).toMatchObject({ code, err: expect.stringContaining(message) })
    expect((await catalog.jobs.list({ limit: 1 })).totalCount).toBe(0)
  })
})

describe('a worker', () => {
  test('does what is queued until it is stopped, and whoever watches sees how it ends', async () => {
    const [good, bad] = [await anImport(), await anImport(path.dirname(MODEL), 'none')]
    const watching = startCli(['jobs', 'watch', good], env)
    const worker = startCli(['worker', '--compute', '0', '--transfers', '1'], env)
    expect(await watching.exitCode).toBe(0)
    expect(JSON.parse(watching.out())).toMatchObject({ model: 'tiny', isNew: true })
    expect(watching.err()).toMatch(/^succeeded +100 %/m)

    const failed = await runCli(['jobs', 'watch', bad], env)
    expect([failed.code, failed.err]).toEqual([1, expect.stringMatching(/\n[A-Z_]+: .*models/)])
    expect(failed.err).not.toMatch(/\n +at /)
    const shown = await runCli(['jobs', 'show', good], env)
    expect(shown.out).toMatch(new RegExp(`^${good} +import +succeeded +100 %\n[^]*"model": "tiny"`))
    const { error, log } = JSON.parse((await runCli(['jobs', 'show', bad, '--json'], env)).out)
    expect({ code: error.code, log }).toEqual({ code: expect.stringMatching(/INVALID|UNSUPPORTED/), log: [] })

    worker.signals.emit('SIGINT')
    expect(await worker.exitCode).toBe(0)
    expect(worker.err()).toMatch(/working on the jobs of postgresql:.*stopping.*stopped/s)
    expect(worker.err()).not.toContain(`:${new URL(env.DATABASE_URL!).password}@`)
    const later = await anImport(MODEL, 'later')
    expect(await stateOf(later)).toBe('queued')
  }, 60_000)

  test.each([
    [['--compute', 'many'], '--compute "many" is not a whole number'],
    [['--transfers=-1'], '--transfers "-1" is not a whole number'],
    [['--compute', '0', '--transfers', '0'], 'above 0'],
  ])('is not started with %j', async (options, problem) => {
    expect(await runCli(['worker', ...options], env)).toMatchObject({ code: 2, err: expect.stringContaining(problem) })
  })
})

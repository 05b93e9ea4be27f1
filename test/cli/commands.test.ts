import fs from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../catalog/test-database.js'
import { COMMIT_A, startHub } from '../hub/stand-in.js'
import { runCli } from './run-cli.js'

const MODEL = path.resolve(import.meta.dirname, '../fixtures/models/hf-clip')

let database: TestDatabase
let env: Record<string, string>
beforeAll(async () => {
  database = await createTestDatabase({ migrated: false })
  env = { DATABASE_URL: database.url, DATA_DIR: database.dataDir, HF_HOME: path.join(database.dataDir, 'hf') }
})
afterAll(() => database.close())

describe('models', () => {
  test('there are none at first, and the table says how to get one', async () => {
    expect(await runCli(['models'], env)).toMatchObject({ code: 0, out: expect.stringContaining('refract -- import') })
  })

  test('imported from a folder are listed, imported again change nothing, removed are gone', async () => {
    const first = await runCli(['import', MODEL, '--id', 'tiny-clip'], env)
    expect(first).toMatchObject({ code: 0, out: 'Imported tiny-clip (hf-clip, vision and text, 2 layers of 16)\n' })
    expect((await runCli(['import', MODEL, '--id', 'tiny-clip'], env)).out).toContain('Already imported: tiny-clip')
    expect((await runCli(['models'], env)).out).toMatch(/^tiny-clip +hf-clip +vision, text +2 +16/m)
    const listed = JSON.parse((await runCli(['models', '--json'], env)).out)
    expect(listed).toMatchObject({ id: 'tiny-clip', weightsSha256: expect.stringMatching(/^[0-9a-f]{64}$/), processing: [] })
    expect(await runCli(['remove', 'tiny-clap'], env)).toMatchObject({ code: 2, err: expect.stringContaining('"tiny-clip"?') })
    expect((await runCli(['remove', 'tiny-clip'], env)).code).toBe(0)
    expect((await runCli(['models', '--json'], env)).out).toBe('')
  })

  test('imported with weight processing say so, and are not the same as without', async () => {
    const argv = ['import', MODEL, '--id', 'folded', '--json']
    const folded = JSON.parse((await runCli([...argv, '--fold-value-biases', '--fold-ln'], env)).out)
    expect(folded.processing).toEqual(expect.arrayContaining(['fold-layer-norm', 'fold-value-biases']))
    expect(await runCli(argv, env)).toMatchObject({ code: 1, err: expect.stringMatching(/"folded" is taken.*weight processing.*--id/s) })
  })

  test('imported from the hub come with their provenance', async () => {
    const files: Record<string, Buffer> = {}
    for (const name of await fs.readdir(MODEL)) files[name] = await fs.readFile(path.join(MODEL, name))
    const hub = await startHub([
      { id: 'org/Tiny_CLIP-s1B-b8K', branches: { main: COMMIT_A }, commits: { [COMMIT_A]: files }, license: 'mit' },
    ])
    try {
      const { code, out, err } = await runCli(['import', 'org/Tiny_CLIP-s1B-b8K', '--json'], { ...env, HF_ENDPOINT: hub.url })
      expect(err).toMatch(/Looking for org.*Downloading.*100%.*Checking.*Registering/s)
      expect(code).toBe(0)
      expect(JSON.parse(out)).toMatchObject({ id: 'tiny-clip', license: 'mit', provenance: { kind: 'hub', revision: COMMIT_A } })
      const missing = await runCli(['import', 'org/other'], { ...env, HF_ENDPOINT: hub.url })
      expect(missing).toMatchObject({ code: 1, err: expect.stringContaining('no such repository') })
      expect(missing.err).not.toContain('at ')
    } finally {
      await hub.close()
    }
  })
})

describe('SAEs', () => {
  const saes = path.resolve(import.meta.dirname, '../fixtures/features')

  test('imported from a folder say what was decided by rule, and are gone when they are removed', async () => {
    await runCli(['import', MODEL, '--id', 'hf-clip'], env)
    const { code, out } = await runCli(['import', path.join(saes, 'transcoder'), '--model', 'hf-clip'], env)
    expect(code).toBe(0)
    expect(out).toMatch(/^Imported hf-clip\.1-ln2-normalized\.transcoder-topk-7-w40-all \(vit-prisma, topk, 16 to 40 at blocks\.1\.ln2/)
    expect(out).toMatch(/W_skip: measured on 8 generated pictures: .* explains .* % of the variance/)
    const facts = JSON.parse((await runCli(['import', path.join(saes, 'relu'), '--model', 'hf-clip', '--json'], env)).out)
    expect(facts).toMatchObject({ id: 'hf-clip.1-resid-post.vanilla-w40-all', layout: 'vit-prisma', isNew: true, config: { dSae: 40 } })
    expect(await runCli(['remove', 'hf-clip.1-resid-post.vanilla-w41-all'], env)).toMatchObject({
      code: 2,
      err: expect.stringContaining('w40-all"?'),
    })
    expect((await runCli(['remove', facts.id], env)).code).toBe(0)
    await runCli(['remove', 'hf-clip'], env)
  })

  test('take what is known better than their files say, and refuse what is not known at all', async () => {
    const wrong = await runCli(['import', path.join(saes, 'relu'), '--skip', 'quadratic'], env)
    expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('expected linear or linear-and-identity') })
    expect(await runCli(['import', path.join(saes, 'topk'), '--k', 'many'], env)).toMatchObject({
      code: 2,
      err: expect.stringContaining('--k'),
    })
    const nameless = await runCli(['import', path.join(saes, '../saes/saelens-topk')], env)
    expect(nameless).toMatchObject({ code: 1, err: expect.stringContaining('--model') })
  })
})

describe('keys', () => {
  test('are shown once, listed without the secret, and revoked', async () => {
    const made = await runCli(['keys', 'create', '--label', 'notebook', '--scopes', 'read, run'], env)
    expect(made.out).toMatch(/^rfr_[0-9a-f]{8}_\S{43}\n$/)
    const prefix = made.out.slice(0, 12)
    const listed = await runCli(['keys', 'list'], env)
    expect(listed.out).toMatch(new RegExp(`${prefix} +notebook +read,run`))
    expect(listed.out).not.toContain(made.out.trim())
    expect((await runCli(['keys', 'revoke', prefix], env)).code).toBe(0)
    expect(await runCli(['keys', 'revoke', prefix], env)).toMatchObject({ code: 2, err: expect.stringContaining('no active key') })
  })

  test('with a scope that does not exist are not made', async () => {
    expect(await runCli(['keys', 'create', '--scopes', 'read,fly'], env)).toMatchObject({ code: 2, err: expect.stringContaining('"fly"') })
  })
})

test('a full disk is said, whatever it was that found no room', async () => {
  const full = vi.spyOn(fs, 'mkdir').mockImplementation(async (folder) => {
    if (String(folder).includes('blobs')) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  })
  try {
    const { code, err } = await runCli(['models'], env)
    expect([code, err]).toEqual([1, expect.stringMatching(/^No space is left on the disk of /)])
  } finally {
    full.mockRestore()
  }
})

test('a data folder that cannot be made is said at once', async () => {
  const file = path.join(database.dataDir, 'a-file')
  await fs.writeFile(file, '')
  expect(await runCli(['models'], { ...env, DATA_DIR: file })).toMatchObject({ code: 2, err: expect.stringMatching(/DATA_DIR .*a-file/) })
})

describe('push', () => {
  test('puts a folder into a repository, from where it is imported again', async () => {
    const hub = await startHub([])
    const hubEnv = { ...env, HF_ENDPOINT: hub.url, HF_TOKEN: 'hf_granted' }
    try {
      const { code, out, err } = await runCli(['push', MODEL, 'org/tiny@trained', '--private', '--message', 'Step 100'], hubEnv)
      expect(err).toMatch(/Preparing org\/tiny@trained.*Hashing.*Uploading.*100%.*Committing/s)
      expect({ code, out }).toEqual({
        code: 0,
        out: expect.stringMatching(/^Pushed 7 files to org\/tiny@trained \(\w{12}\)\nhttp.*tree\/trained\n$/),
      })
      expect(hub.repos[0]).toMatchObject({ id: 'org/tiny', private: true })
      const again = JSON.parse((await runCli(['push', MODEL, 'org/tiny@trained', '--json'], hubEnv)).out)
      expect(again).toMatchObject({
        repo: 'org/tiny',
        branch: 'trained',
        isNewRepo: false,
        commit: expect.stringMatching(/^[0-9a-f]{40}$/),
      })
      expect((await runCli(['import', 'org/tiny@trained', '--id', 'pushed', '--json'], hubEnv)).code).toBe(0)
      const refused = await runCli(['push', MODEL, 'org/tiny'], { ...hubEnv, HF_TOKEN: '' })
      expect(refused).toMatchObject({ code: 1, err: expect.stringMatching(/^The hub refuses to take org\/tiny: pushing wants a token/m) })
      expect(refused.err).not.toContain('    at ')
      expect(await runCli(['push', MODEL, 'tiny'], hubEnv)).toMatchObject({ code: 1, err: expect.stringContaining('owner/name') })
      expect(await runCli(['push', MODEL], hubEnv)).toMatchObject({ code: 2 })
    } finally {
      await hub.close()
    }
  })
})

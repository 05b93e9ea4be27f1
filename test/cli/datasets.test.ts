import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openCatalog } from '../../src/catalog/open-catalog.js'
import { createTestDatabase, type TestDatabase } from '../catalog/test-database.js'
import { folderWith, png } from '../engine/datasets/pictures.js'
import { runCli } from './run-cli.js'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.close())

const run = (...args: string[]) => runCli(['datasets', ...args], { DATABASE_URL: database.url, DATA_DIR: database.dataDir })
const bytes = async (shade: number) => new Uint8Array(await png(shade))

test('refract datasets: what is registered is listed, shown and removed', async () => {
  const folder = await folderWith({ 'cat/1.png': await bytes(1), 'dog/2.png': await bytes(2), 'dog/3.png': 'no picture' })
  const refused = await run('add', folder, '--id', 'animals')
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('dog/3.png')])
  const added = await run('add', folder, '--id', 'animals', '--license', 'mit', '--skip')
  expect([added.code, added.out]).toEqual([
    0,
    expect.stringMatching(/Registered animals: 2 pictures of 2 classes\n {2}1 left out, cannot be read: dog\/3\.png/),
  ])
  expect((await run('add', folder, '--id', 'again', '--skip')).out).toMatch(/registered already: animals/)

  const file = path.join(folder, 'data.yaml')
  fs.writeFileSync(file, 'kind: folder\nfolder: .\nunreadable: skip\nholdOut: { fraction: 0.5, seed: 1, take: rest, by: class }\n')
  const described = await run('add', '--config', file, '--id', 'half', '--json')
  expect([described.code, described.err]).toEqual([0, expect.anything()])
  expect(JSON.parse(described.out)).toMatchObject({ id: 'half' })

  expect((await run('list')).out).toMatch(/animals +2 +2 +mit/)
  expect((await run('show', 'animals')).out).toMatch(/classes: cat, dog/)
  expect(JSON.parse((await run('show', 'animals', '--json')).out)).toMatchObject({ id: 'animals', nItems: 2 })
  expect(await run('show', 'animal')).toMatchObject({ code: 2, err: expect.stringContaining('Did you mean "animals"?') })
  expect(await run('remove', 'half')).toMatchObject({ code: 0, out: 'Removed half.\n' })
})

test.each<[string[], RegExp]>([
  [['add'], /needs a folder/],
  [['add', 'x', '--config', 'y'], /needs a folder/],
  [['add', '--config', 'y', '--skip'], /--skip goes with a folder/],
  [['remove', 'nothing'], /no data set "nothing"/],
])('refract datasets %j says what is wrong', async (args, message) => {
  expect(await run(...args)).toMatchObject({ code: 2, err: expect.stringMatching(message) })
})

test('refract datasets remove leaves what a job works with', async () => {
  await run('add', await folderWith({ 'a.png': await bytes(9) }), '--id', 'busy')
  const catalog = await openCatalog({ databaseUrl: database.url, dataDir: database.dataDir })
  const { job } = await catalog.jobs.create({ kind: 'import', input: {}, lane: 'compute', place: 'here', uses: ['dataset:busy'] })
  await catalog.close()
  expect(await run('remove', 'busy')).toMatchObject({ code: 2, err: expect.stringContaining(job.id) })
})

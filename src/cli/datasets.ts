/** `refract datasets`: what numbers are measured on, from the terminal. */

import path from 'node:path'
import type { Catalog } from '../catalog/catalog.js'
import type { DatasetRecord } from '../catalog/datasets.js'
import type { DatasetSource } from '../catalog/import/dataset-source.js'
import { type DatasetProgress, importDataset } from '../catalog/import/import-dataset.js'
import { type Dataset, named } from '../engine/datasets/dataset.js'
import { nearest } from '../engine/nearest.js'
import { describeDataset } from '../operations/datasets.js'
import { type Command, type CommandContext, UsageError } from './command.js'
import { openDatabase } from './database.js'
import { table } from './table.js'
import { readTrainingConfig } from './training-config.js'

const json = { json: { type: 'boolean', meaning: 'print JSON' } } as const
const PAGE = 100
const SHOWN_CLASSES = 20

/** A command that needs the catalog, and closes what it opened. */
function catalogCommand(command: Omit<Command, 'run'>, run: (catalog: Catalog, context: CommandContext) => Promise<void>): Command {
  return {
    ...command,
    async run(context) {
      const database = await openDatabase(context.config, (message) => context.err.write(`${message}\n`))
      try {
        await run(database.catalog, context)
      } finally {
        await database.close()
      }
    },
  }
}

const add = catalogCommand(
  {
    name: 'datasets add',
    positionals: ['[folder | list | zip]'],
    summary: 'Register pictures as a data set: their content is copied and kept.',
    details: [
      'Understood are a folder of class folders, a folder of pictures, a list (.csv, .tsv, .jsonl) of pictures with captions or labels, a',
      'folder of emoji, and a zip file of any of these. A dataset.json beside the pictures may say id, name, license and description. What is',
      "not seen from the files alone is said in a configuration (--config), as in a training's data.",
    ].join('\n'),
    options: {
      config: { type: 'string', value: '<file>', meaning: 'a YAML file that describes the data set, in the place of a folder' },
      id: { type: 'string', value: '<slug>', meaning: 'its id; made from the name otherwise' },
      name: { type: 'string', value: '<name>', meaning: 'its name' },
      license: { type: 'string', value: '<license>', meaning: 'the license of the pictures' },
      description: { type: 'string', value: '<text>', meaning: 'what it is' },
      part: { type: 'string', value: '<folder>', meaning: 'which of train, val, ... where the class folders are below such' },
      skip: { type: 'boolean', meaning: 'leave out pictures that cannot be read, and count them' },
      ...json,
    },
  },
  async (catalog, { config, values, positionals: [file], out, err, signal }) => {
    const source = await sourceOf(file, values)
    const texts = ['id', 'name', 'license', 'description'].flatMap((key) => (typeof values[key] === 'string' ? [[key, values[key]]] : []))
    const { dataset, isNew } = await importDataset({
      ...{ catalog, source, signal, dataDir: config.dataDir, limits: { maxPixels: config.maxImagePixels } },
      about: Object.fromEntries(texts),
      onProgress: progressLines(err),
    })
    if (values.json) return void out.write(`${JSON.stringify(describeDataset(dataset), null, 2)}\n`)
    out.write(isNew ? `Registered ${summaryOf(dataset)}\n` : `The same pictures are registered already: ${summaryOf(dataset)}\n`)
    for (const line of foundIn(dataset)) out.write(`  ${line}\n`)
  },
)

async function sourceOf(file: string | undefined, values: CommandContext['values']): Promise<DatasetSource> {
  if ((file === undefined) === (values.config === undefined)) {
    throw new UsageError('datasets add needs a folder, a list or a zip file; or a description: --config <file>.')
  }
  if (file !== undefined) {
    const part = values.part === undefined ? {} : { part: String(values.part) }
    return { kind: 'found', file, unreadable: values.skip === true ? 'skip' : 'fail', ...part }
  }
  const unfit = ['part', 'skip'].find((option) => values[option] !== undefined)
  if (unfit !== undefined) throw new UsageError(`--${unfit} goes with a folder; in the file of --config it is a field.`)
  const description = await readTrainingConfig(String(values.config), {})
  return { kind: 'described', description, baseFolder: path.dirname(path.resolve(String(values.config))) }
}

const list = catalogCommand(
  { name: 'datasets list', positionals: [], summary: 'List the data sets.', options: json },
  async ({ datasets }, { values, out }) => {
    const all = await allOf(datasets)
    if (values.json) return void out.write(`${JSON.stringify(all.map(describeDataset), null, 2)}\n`)
    if (all.length === 0) return void out.write('There is no data set yet. Register one: refract datasets add <folder | list | zip>\n')
    const rows = all.map(({ id, nItems, nClasses, license, hash, name }) => {
      return [id, nItems, nClasses ?? '', license ?? '', hash?.slice(0, 12) ?? 'not here', name]
    })
    out.write(table(['id', 'pictures', 'classes', 'license', 'sha256', 'name'], rows))
  },
)

const show = catalogCommand(
  { name: 'datasets show', positionals: ['<data set>'], summary: 'Show a data set.', options: json },
  async ({ datasets }, { values, positionals: [id = ''], out }) => {
    const dataset = await find(datasets, id)
    if (values.json) return void out.write(`${JSON.stringify(describeDataset(dataset), null, 2)}\n`)
    const { name, hash, license, description, classNames, createdAt } = dataset
    out.write(`${summaryOf(dataset)}\n`)
    for (const [what, text] of Object.entries({ name, sha256: hash, license, description }))
      if (text !== null) out.write(`${what}: ${text}\n`)
    out.write(`registered: ${createdAt.toISOString().slice(0, 19)}\n`)
    if (classNames.length > 0) out.write(`classes: ${named({ count: classNames.length, first: classNames.slice(0, SHOWN_CLASSES) })}\n`)
    for (const line of foundIn(dataset)) out.write(`${line}\n`)
  },
)

const remove = catalogCommand(
  { name: 'datasets remove', positionals: ['<data set>'], summary: 'Forget a data set. Its pictures stay stored.', options: {} },
  async ({ datasets, jobs }, { positionals: [id = ''], out }) => {
    await find(datasets, id)
    const [user] = await jobs.using(`dataset:${id}`)
    if (user) throw new UsageError(`A job works with ${id} (${user.kind}). Wait for it, or stop it: refract jobs cancel ${user.id}`)
    await datasets.remove(id)
    out.write(`Removed ${id}.\n`)
  },
)

export const datasetCommands: readonly Command[] = [list, show, add, remove]

async function find(datasets: Catalog['datasets'], id: string): Promise<DatasetRecord> {
  const found = await datasets.get(id)
  if (found) return found
  const [near] = nearest(id, await datasets.ids())
  throw new UsageError(`There is no data set "${id}".${near ? ` Did you mean "${near}"?` : ' refract datasets list shows them.'}`)
}

async function allOf(datasets: Catalog['datasets']): Promise<DatasetRecord[]> {
  const all: DatasetRecord[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await datasets.list({ limit: PAGE, ...(cursor !== undefined && { cursor }) })
    all.push(...page.items)
    cursor = page.nextCursor
  }
  return all
}

function summaryOf({ id, nItems, nClasses }: DatasetRecord): string {
  return `${id}: ${nItems} ${nItems === 1 ? 'picture' : 'pictures'}${nClasses ? ` of ${nClasses} ${nClasses === 1 ? 'class' : 'classes'}` : ''}`
}

/** What was found beside the pictures. */
function foundIn({ report }: DatasetRecord): string[] {
  const said: readonly [keyof Dataset['report'], string][] = [
    ['unreadable', 'left out, cannot be read'],
    ['identical', 'the same picture again'],
    ['ignored', 'no pictures, ignored'],
  ]
  return said.flatMap(([key, what]) => (report && report[key].count > 0 ? [`${report[key].count} ${what}: ${named(report[key])}`] : []))
}

const doing: Readonly<Record<DatasetProgress['step'], string>> = { examine: 'Looking at', store: 'Storing' }
const LINE_EVERY_MS = 2000

function progressLines(stream: NodeJS.WritableStream): (progress: DatasetProgress) => void {
  let said = performance.now()
  return ({ step, done, total }) => {
    if (done < total && performance.now() - said < LINE_EVERY_MS) return
    said = performance.now()
    stream.write(`${doing[step]} ${total} pictures: ${done}\n`)
  }
}

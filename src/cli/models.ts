/** `refract models`, `refract remove`. */

import type { Catalog, ModelRecord } from '../catalog/catalog.js'
import { nearest } from '../engine/nearest.js'
import { type Command, UsageError } from './command.js'
import { openDatabase } from './database.js'
import { table } from './table.js'

const PAGE = 100

export const modelsCommand: Command = {
  name: 'models',
  positionals: [],
  summary: 'List the models.',
  options: { json: { type: 'boolean', meaning: 'print them as JSON, one a line' } },
  async run({ config, values, out, err }) {
    const database = await openDatabase(config, (message) => err.write(`${message}\n`))
    try {
      const models = await allModels(database.catalog)
      if (values.json)
        for (const { description, ...facts } of models) out.write(`${JSON.stringify({ ...facts, layout: description.layout })}\n`)
      else if (models.length === 0) out.write('There is no model yet. Import one: npm run refract -- import <folder | hub repo>\n')
      else out.write(table(['id', 'layout', 'towers', 'layers', 'width', 'patch', 'image', 'MB', 'from'], models.map(rowOf)))
    } finally {
      await database.close()
    }
  },
}

async function allModels({ models }: Catalog): Promise<ModelRecord[]> {
  const all: ModelRecord[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await models.list({ limit: PAGE, ...(cursor !== undefined && { cursor }) })
    all.push(...page.items)
    cursor = page.nextCursor
  }
  return all
}

function rowOf({ id, description, weightBytes, provenance, processing }: ModelRecord): (string | number)[] {
  const { config } = description.vision
  const size = ({ height, width }: { height: number; width: number }) => (height === width ? String(height) : `${height}x${width}`)
  const [patch, image] = 'patchSize' in config ? [size(config.patchSize), size(config.imageSize)] : ['', '']
  const from = provenance.kind === 'hub' ? `${provenance.repo}@${provenance.revision.slice(0, 12)}` : provenance.name
  return [
    id,
    description.layout,
    description.text ? 'vision, text' : 'vision',
    config.nLayers,
    config.dModel,
    patch,
    image,
    Math.ceil(weightBytes / 1e6),
    [from, ...processing].join(', '),
  ]
}

export const removeCommand: Command = {
  name: 'remove',
  positionals: ['<model | SAE>'],
  summary: 'Forget a model or an SAE. Its files stay where they are; what was published of an SAE stays known.',
  options: {},
  async run({ config, positionals: [id = ''], out, err }) {
    const database = await openDatabase(config, (message) => err.write(`${message}\n`))
    try {
      const { models, saes, jobs } = database.catalog
      const [user] = [...(await jobs.using(`model:${id}`)), ...(await jobs.using(`sae:${id}`))]
      if (user) throw new UsageError(`A job works with ${id} (${user.kind}). Wait for it, or stop it: refract jobs cancel ${user.id}`)
      if (!(await models.remove(id)) && !(await saes.remove(id))) {
        const [near] = nearest(id, [...(await models.ids()), ...(await saes.ids())])
        throw new UsageError(`There is no model and no SAE "${id}".${near ? ` Did you mean "${near}"?` : ''}`)
      }
      out.write(`Removed ${id}.\n`)
    } finally {
      await database.close()
    }
  },
}

/**
 * Models: what can be run, where its weights came from, and where they are.
 */

import path from 'node:path'
import { EngineError } from '../engine/errors.js'
import type { ModelDescription, WeightProcessing } from '../engine/models/model.js'
import type { Model, ModelFile, Prisma, PrismaClient } from '../generated/prisma/client.js'
import type { Catalog, ModelRecord, NewModel, Provenance } from './catalog.js'
import { decodeCursor, pageOf } from './cursors.js'
import { RecentAnswers } from './recent-answers.js'
import { likeLiteral, storableJson, storedFolder } from './stored-values.js'

const LIST = 'models'
const SLUG = /^[a-z0-9]+(-[a-z0-9]+)*$/
const MAX_SLUG = 100
const withFiles = { files: { orderBy: { path: 'asc' } } } as const satisfies Prisma.ModelInclude

/** A slug is what a model's id may be: lower-case words and numbers with single hyphens between them. */
export function isModelSlug(id: string): boolean {
  return SLUG.test(id) && id.length <= MAX_SLUG
}

/** In order of id. */
export function modelCatalog(prisma: PrismaClient, dataDir: string): Catalog['models'] {
  const record = (row: Model & { files: ModelFile[] }) => recordOf(row, dataDir)
  const byId = new RecentAnswers(async (id) => {
    const row = await prisma.model.findUnique({ where: { id }, include: withFiles })
    return row === null ? undefined : record(row)
  })

  return {
    async list({ limit, cursor, text, layout }) {
      const [after] = cursor === undefined ? [] : decodeCursor(LIST, cursor, 1)
      const filter: Prisma.ModelWhereInput = {
        ...(layout !== undefined && { layout }),
        ...(text !== undefined && {
          // Prisma's `contains` passes % and _ on as wildcards
          OR: (['id', 'name', 'source'] as const).map((column) => ({ [column]: { contains: likeLiteral(text), mode: 'insensitive' } })),
        }),
      }
      const [rows, totalCount] = await Promise.all([
        prisma.model.findMany({
          where: after === undefined ? filter : { AND: [filter, { id: { gt: after } }] },
          include: withFiles,
          orderBy: { id: 'asc' },
          take: limit + 1,
        }),
        prisma.model.count({ where: filter }),
      ])
      return pageOf(rows, { limit, totalCount, list: LIST, key: (model) => [model.id], item: record })
    },

    async get(id) {
      return isModelSlug(id) ? byId.get(id) : undefined
    },

    async ids() {
      return (await prisma.model.findMany({ select: { id: true }, orderBy: { id: 'asc' } })).map(({ id }) => id)
    },

    async register(model) {
      const data = rowOf(model, dataDir)
      // Of two that register the same id at once, one makes the row; both compare with what is there.
      const made = await prisma.$transaction(async (transaction) => {
        const { count } = await transaction.model.createMany({ data: [data], skipDuplicates: true })
        if (count > 0) {
          await transaction.modelFile.createMany({
            data: model.files.map((file) => ({ modelId: model.id, path: file.path, bytes: BigInt(file.bytes), sha256: file.sha256 })),
          })
        }
        return count > 0
      })
      const row = await prisma.model.findUniqueOrThrow({ where: { id: model.id }, include: withFiles })
      const existing = record(row)
      if (made) return existing
      const problem = differenceOf(existing, model)
      if (problem !== undefined) {
        throw new EngineError('MODEL_CONFLICT', {
          id: model.id,
          problem,
          instead: `Choose another with --id, or remove it first (refract remove ${model.id}).`,
        })
      }
      // The same model, found at another place since.
      if (existing.folder === model.folder) return existing
      try {
        return record(await prisma.model.update({ where: { id: model.id }, data: { folder: data.folder }, include: withFiles }))
      } finally {
        byId.forget(model.id)
      }
    },

    async remove(id) {
      try {
        return (await prisma.model.deleteMany({ where: { id } })).count > 0
      } finally {
        byId.forget(id)
      }
    },
  }
}

/** What keeps `given` from being the model that is registered; undefined when it is the same. */
function differenceOf(existing: ModelRecord, given: NewModel): string | undefined {
  const from =
    existing.provenance.kind === 'hub'
      ? `${existing.provenance.repo}@${existing.provenance.revision.slice(0, 12)}`
      : existing.provenance.name
  if (existing.weightsSha256 !== given.weightsSha256) {
    return `it is a model with other weights, from ${from} (sha256 ${existing.weightsSha256.slice(0, 12)}, these have ${given.weightsSha256.slice(0, 12)})`
  }
  if (existing.processing.join() !== given.processing.join()) {
    const named = (processing: readonly string[]) => (processing.length > 0 ? processing.join(', ') : 'none')
    return `it is the same model with other weight processing (${named(existing.processing)}; asked for: ${named(given.processing)})`
  }
  const hashes = new Map(existing.files.map((file) => [file.path, file.sha256]))
  const changed = given.files.filter((file) => hashes.get(file.path) !== file.sha256).map((file) => file.path)
  const gone = [...hashes.keys()].filter((name) => !given.files.some((file) => file.path === name))
  const files = [...changed, ...gone]
  return files.length > 0
    ? `it is a model with the same weights, but ${files.join(', ')} differ${files.length === 1 ? 's' : ''}`
    : undefined
}

function rowOf(model: NewModel, dataDir: string): Prisma.ModelCreateManyInput {
  const { config, nParameters } = model.description.vision
  if (!('patchSize' in config))
    throw new EngineError('MODEL_UNSUPPORTED', { what: `${model.name} without a vision tower`, supported: 'Models need one.' })
  const { provenance } = model
  return {
    id: model.id,
    name: model.name,
    layout: model.description.layout,
    nLayers: config.nLayers,
    dModel: config.dModel,
    nHeads: config.nHeads,
    patchHeight: config.patchSize.height,
    patchWidth: config.patchSize.width,
    imageHeight: config.imageSize.height,
    imageWidth: config.imageSize.width,
    dOut: config.head.dOut,
    hasText: model.description.text !== undefined,
    nParameters: BigInt(nParameters + (model.description.text?.nParameters ?? 0)),
    description: storableJson(model.description),
    processing: [...model.processing],
    sourceKind: provenance.kind,
    source: provenance.kind === 'hub' ? provenance.repo : provenance.name,
    ...(provenance.kind === 'hub' && {
      revision: provenance.revision,
      requestedRevision: provenance.requestedRevision,
      endpoint: provenance.endpoint,
    }),
    license: model.license,
    weightsSha256: model.weightsSha256,
    weightBytes: BigInt(model.weightBytes),
    folder: storedFolder(model.folder, dataDir),
  }
}

function recordOf(row: Model & { files: ModelFile[] }, dataDir: string): ModelRecord {
  return {
    id: row.id,
    name: row.name,
    description: row.description as unknown as ModelDescription,
    provenance: provenanceOf(row),
    license: row.license,
    files: row.files.map((file) => ({ path: file.path, bytes: Number(file.bytes), sha256: file.sha256 })),
    weightsSha256: row.weightsSha256,
    weightBytes: Number(row.weightBytes),
    folder: path.resolve(dataDir, row.folder),
    processing: row.processing as WeightProcessing[],
    createdAt: row.createdAt,
  }
}

function provenanceOf(row: Model): Provenance {
  if (row.sourceKind === 'folder') return { kind: 'folder', name: row.source }
  return {
    kind: 'hub',
    repo: row.source,
    revision: row.revision ?? '',
    requestedRevision: row.requestedRevision ?? '',
    endpoint: row.endpoint ?? '',
  }
}

/**
 * Base models: what SAEs were trained on, whether it is here or not. A model of the same id that is here can be run; without it, the entry
 * says what would have to be imported. They are not models: `GET /v1/models` lists what can be run.
 */

import { EngineError } from '../engine/errors.js'
import type { Model, PrismaClient } from '../generated/prisma/client.js'

export interface BaseModel {
  /** The id that importing it gives: `clip-vit-b-32-datacomp-xl`. */
  readonly id: string
  readonly name: string
  /** Hub repository; null of a model that was made here. */
  readonly repo: string | null
  /** Other names under which SAE files know it: `open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K`. */
  readonly aliases: readonly string[]
  readonly license: string | null
}

export interface BaseModelCatalog {
  get(id: string): Promise<BaseModel | undefined>
  /** By id, repository or alias, whatever their case; of the models that are here, too. */
  find(name: string): Promise<BaseModel | undefined>
  /** In order of id. */
  list(): Promise<readonly BaseModel[]>
  /** What is there already stays as it is. */
  add(models: readonly BaseModel[]): Promise<void>
  /** Makes the model of this id a base model, if it is none yet. @throws BASE_MODEL_UNKNOWN when there is no such model either */
  ensure(id: string): Promise<void>
}

export function baseModelCatalog(prisma: PrismaClient): BaseModelCatalog {
  const list = () => prisma.baseModel.findMany({ orderBy: { id: 'asc' } })
  const get = async (id: string) => (await prisma.baseModel.findUnique({ where: { id } })) ?? undefined
  const add = async (models: readonly BaseModel[]) => {
    const data = models.map((model) => ({ ...model, aliases: [...model.aliases] }))
    await prisma.baseModel.createMany({ data, skipDuplicates: true })
  }

  return {
    list,
    get,
    add,

    async find(name) {
      const wanted = name.toLowerCase()
      const isNamed = ({ id, repo, aliases }: BaseModel) =>
        [id, ...(repo === null ? [] : [repo]), ...aliases].some((known) => known.toLowerCase() === wanted)
      // there are few of either
      return (await list()).find(isNamed) ?? (await models()).find(isNamed)
    },

    async ensure(id) {
      if ((await get(id)) !== undefined) return
      const model = await prisma.model.findUnique({ where: { id }, select: asBaseModel })
      if (model === null) throw new EngineError('BASE_MODEL_UNKNOWN', { id, known: (await list()).map((known) => known.id) })
      await add([baseModelOf(model)])
    },
  }

  async function models(): Promise<BaseModel[]> {
    return (await prisma.model.findMany({ select: asBaseModel })).map(baseModelOf)
  }
}

const asBaseModel = { id: true, name: true, source: true, sourceKind: true, license: true } as const

type ModelAsBase = Pick<Model, keyof typeof asBaseModel>

function baseModelOf({ id, name, source, sourceKind, license }: ModelAsBase): BaseModel {
  return { id, name, repo: sourceKind === 'hub' ? source : null, aliases: [], license }
}

/**
 * Base models: what SAEs were trained on, whether it is here or not. A model of the same id that is here can be run; without it, the entry
 * says what would have to be imported. They are not models: `GET /v1/models` lists what can be run.
 */

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

export interface BaseModelWithState extends BaseModel {
  /** Whether a model of this id is here. */
  readonly isAvailable: boolean
}

export interface BaseModelCatalog {
  get(id: string): Promise<BaseModelWithState | undefined>
  /** By id, repository or alias, whatever their case. */
  find(name: string): Promise<BaseModelWithState | undefined>
  list(): Promise<readonly BaseModelWithState[]>
  /** What is there already stays. */
  add(models: readonly BaseModel[]): Promise<void>
}

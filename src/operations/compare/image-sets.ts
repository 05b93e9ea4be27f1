/** From a set of images as a user describes it to the images. */

import { createHash } from 'node:crypto'
import type { KnownDatasetItem } from '../../catalog/datasets.js'
import { EngineError } from '../../engine/errors.js'
import { nearest } from '../../engine/nearest.js'
import { createRandom } from '../../engine/random.js'
import { findDataset } from '../datasets.js'
import { RequestError } from '../errors.js'
import { fixedLimits } from '../limits.js'
import type { Context } from '../operation.js'
import type { ImageSetInput } from '../schemas/compare.js'
import type { ImageInputValue } from '../schemas/image.js'

/** Of the drawing of samples: the same request has the same answer. */
const SEED = 0

type DatasetImages = Extract<ImageSetInput, { dataset: string }>

/** At least two. @throws DATASET_UNKNOWN, INPUT_INVALID, LIMIT_EXCEEDED */
export async function imagesOfSet({ catalog }: Pick<Context, 'catalog'>, set: ImageSetInput, path: string): Promise<ImageInputValue[]> {
  if ('images' in set) return within(set.images, { path, instead: 'Send fewer images.' })
  const found = await itemsOfSet(catalog, set, path)
  const missing = found.filter(({ imageId }) => imageId === null)
  if (missing.length > 0) {
    throw refusal(path, `${missing.length} of its ${found.length} images are not stored here, ${missing[0]!.name} among them`)
  }
  if (found.length < 2)
    throw refusal(path, `selects ${found.length === 0 ? 'no image' : 'one image'} of ${set.dataset}; a set has at least two`)
  const images = found.map(({ imageId }) => imageId!)
  if (set.sample === undefined)
    return within(images, { path, instead: 'Draw some of them: "sample", or choose others with "facets" or "items".' })
  const drawn = [...createRandom(SEED).permutation(images.length).subarray(0, set.sample)]
  return drawn.sort((a, b) => a - b).map((at) => images[at]!)
}

/** By content, whichever way they are named. @throws INPUT_INVALID where some are in both */
export function requireApart(a: readonly ImageInputValue[], b: readonly ImageInputValue[]): void {
  const ofA = new Set(a.map(idOf))
  const shared = b.filter((image) => ofA.has(idOf(image)))
  if (shared.length > 0) throw refusal('b', `${shared.length} of its ${b.length} images are in set "a" as well; an image is of one set`)
}

function idOf(image: ImageInputValue): string {
  return typeof image === 'string' ? image : `sha256:${createHash('sha256').update(Buffer.from(image.base64, 'base64')).digest('hex')}`
}

function within(
  images: readonly ImageInputValue[],
  { path, instead }: { readonly path: string; readonly instead: string },
): ImageInputValue[] {
  const maximum = fixedLimits.comparedImages
  if (images.length <= maximum) return [...images]
  throw new RequestError('LIMIT_EXCEEDED', { limit: 'comparedImages', given: images.length, maximum, what: `images in "${path}"`, instead })
}

async function itemsOfSet(catalog: Context['catalog'], set: DatasetImages, path: string): Promise<KnownDatasetItem[]> {
  const { nItems, classNames } = await findDataset(catalog, set.dataset)
  const beyond = set.items?.find((item) => item >= nItems)
  if (beyond !== undefined) throw refusal(`${path}.items`, `${beyond} is out of range; ${set.dataset} has items 0 to ${nItems - 1}`)
  const label = set.class === undefined ? undefined : labelOf(set.class, classNames, path)
  const wanted = set.items && new Set(set.items)
  const values = new Map(Object.keys(set.facets ?? {}).map((name) => [name, new Set<string>()]))
  const names = new Set<string>()
  const found: KnownDatasetItem[] = []
  for await (const item of catalog.datasets.allItems(set.dataset)) {
    for (const [name, value] of Object.entries(item.facets)) {
      names.add(name)
      values.get(name)?.add(String(value))
    }
    if (wanted && !wanted.has(item.index)) continue
    if (label !== undefined && item.label !== label) continue
    if (hasFacets(item, set.facets)) found.push(item)
  }
  requireKnownFacets(set, { names, values, path })
  return found
}

function labelOf(name: string, classNames: readonly string[], path: string): number {
  const label = classNames.indexOf(name)
  if (label >= 0) return label
  const near = nearest(name, classNames).map((each) => `"${each}"`)
  const hint =
    classNames.length === 0 ? 'its classes have no names' : near.length > 0 ? `did you mean ${near.join(' or ')}?` : 'it has others'
  throw refusal(`${path}.class`, `"${name}" is no class of the data set; ${hint}`)
}

function hasFacets({ facets }: KnownDatasetItem, wanted: DatasetImages['facets'] = {}): boolean {
  return Object.entries(wanted).every(
    ([name, values]) => Object.hasOwn(facets, name) && [values].flat().some((value) => String(value) === String(facets[name])),
  )
}

interface KnownFacets {
  readonly names: ReadonlySet<string>
  readonly values: ReadonlyMap<string, ReadonlySet<string>>
  readonly path: string
}

/** A facet, or a value of one, that no item has is a slip of the pen. */
function requireKnownFacets({ facets = {}, dataset }: DatasetImages, { names, values, path }: KnownFacets): void {
  const hint = (given: string, known: ReadonlySet<string>) => {
    const near = nearest(given, [...known])
    const shown = near.length > 0 ? near : [...known].slice(0, 8)
    return shown.length === 0
      ? 'nothing is known of them'
      : `${near.length > 0 ? 'did you mean' : 'there are'} ${shown.map((each) => `"${each}"`).join(', ')}`
  }
  for (const [name, wanted] of Object.entries(facets)) {
    if (!names.has(name)) throw refusal(`${path}.facets`, `"${name}" is known of no item of ${dataset}; ${hint(name, names)}`)
    const unknown = [wanted].flat().find((value) => !values.get(name)!.has(String(value)))
    if (unknown === undefined) continue
    throw refusal(`${path}.facets.${name}`, `no item of ${dataset} has "${String(unknown)}"; ${hint(String(unknown), values.get(name)!)}`)
  }
}

function refusal(path: string, problem: string): EngineError {
  return new EngineError('INPUT_INVALID', { path, problem }, [{ path, message: problem }])
}

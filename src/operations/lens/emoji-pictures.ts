/** Pictures of emoji by their characters and by their names, from a data set whose pictures have the facets `code` and `name`. */

import type { KnownDatasetItem } from '../../catalog/datasets.js'
import { inWords } from '../../engine/datasets/facets.js'
import { findDataset } from '../datasets.js'
import { fixedLimits } from '../limits.js'
import type { Context } from '../operation.js'
import { tooManyItems } from './lens-labels.js'

/** The one that comes with the demo. */
export const EMOJI_DATASET = 'emoji-twemoji'

export interface EmojiPictures {
  /** The id of the picture of an emoji, given as its characters. */
  ofEmoji(emoji: string): string | undefined
  /** By its name, or a name in one of its captions. */
  ofName(name: string): string | undefined
}

/** @param dataset  absent: the demo's, where it is registered. @throws DATASET_UNKNOWN, LIMIT_EXCEEDED */
export async function emojiPictures({ catalog }: Pick<Context, 'catalog'>, dataset?: string): Promise<EmojiPictures> {
  const nItems = dataset === undefined ? 0 : (await findDataset(catalog, dataset)).nItems
  if (nItems > fixedLimits.facetItems) throw tooManyItems(nItems)
  const [byCode, byName, byCaption] = [new Map<string, string>(), new Map<string, string>(), new Map<string, string>()]
  const setFirst = (map: Map<string, string>, key: string, image: string) => {
    if (!map.has(key)) map.set(key, image)
  }
  for await (const { facets, captions, imageId } of catalog.datasets.allItems(dataset ?? EMOJI_DATASET)) {
    if (imageId === null) continue
    if (typeof facets.code === 'string') setFirst(byCode, withoutSelectors(facets.code.split('-')), imageId)
    if (typeof facets.name === 'string') setFirst(byName, inWords(facets.name), imageId)
    for (const name of shortNames(captions)) setFirst(byCaption, name, imageId)
  }
  return {
    ofEmoji: (emoji) => byCode.get(codeOf(emoji)),
    ofName: (name) => {
      const words = inWords(name).replace(/^an? /, '')
      return byName.get(words) ?? byCaption.get(words)
    },
  }
}

/** Captions that are one name, not a list of several. */
const shortNames = (captions: KnownDatasetItem['captions']) =>
  captions.map(({ text }) => inWords(text)).filter((text) => !text.includes(','))

/** Code points in hexadecimal, joined by `-`; presentation selectors, which data sets have or have not, are left out. */
export function codeOf(emoji: string): string {
  return withoutSelectors(Array.from(emoji, (character) => character.codePointAt(0)!.toString(16).padStart(4, '0')))
}

function withoutSelectors(codePoints: readonly string[]): string {
  return codePoints
    .map((point) => point.toLowerCase())
    .filter((point) => point !== 'fe0f' && point !== 'fe0e')
    .join('-')
}

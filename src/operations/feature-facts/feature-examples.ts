/**
 * The pictures in which a feature was seen, as files.
 */

import { type Static, Type } from 'typebox'
import { shownTokens } from '../../catalog/feature-codec.js'
import type { FeatureSetRecord, StoredFeature } from '../../catalog/feature-sets.js'
import { EngineError } from '../../engine/errors.js'
import { exampleKinds, type FeatureExample, type TokenKind, tokenKinds } from '../../engine/evaluation/feature-record.js'
import type { PictureFile } from '../../engine/host/host.js'
import { RequestError } from '../errors.js'
import { pictureFile } from '../load-inputs.js'
import type { Context } from '../operation.js'

/** Fields of every request for examples. */
export const exampleFields = {
  kind: Type.Optional(
    Type.Enum([...exampleKinds], {
      title: 'ExampleKind',
      description:
        '`top` (unless given): the pictures in which the feature is most active; `sample`: active ones drawn at random, the least active first; `threshold`: in which it is barely active; `negative`: with the lowest pre-activations.',
    }),
  ),
  token: Type.Optional(
    Type.Enum([...tokenKinds], {
      title: 'TokenKind',
      description:
        'Where in a picture its score was taken. Unless given: at patches or, where there are no such examples, at CLS or registers.',
    }),
  ),
}

const Fields = Type.Object(exampleFields)

/** In their order. */
export function examplesOf({ examples }: StoredFeature, { kind = 'top', token }: Static<typeof Fields> = {}): FeatureExample[] {
  const ofKind = examples.filter((example) => example.kind === kind)
  const at = (where: TokenKind) => ofKind.filter((example) => example.token === where)
  return token ? at(token) : (shownTokens.map(at).find((examples) => examples.length > 0) ?? [])
}

/** @throws INPUT_INVALID of a number beyond the last */
export function exampleAt(examples: readonly FeatureExample[], n: number, what: string): FeatureExample {
  const example = examples[n]
  if (example) return example
  const problem =
    examples.length === 0
      ? `${n} is out of range; ${what} has no such examples`
      : `${n} is out of range; ${what} has examples 0 to ${examples.length - 1}`
  throw new EngineError('INPUT_INVALID', { path: 'n', problem })
}

/** In the order of the examples. @throws IMAGE_UNKNOWN of a picture that is not stored */
export async function exampleFiles(context: Context, set: FeatureSetRecord, examples: readonly FeatureExample[]): Promise<PictureFile[]> {
  const items = await context.catalog.datasets.items(set.dataset.id, [...new Set(examples.map(({ item }) => item))])
  const byIndex = new Map(items.map((item) => [item.index, item]))
  return examples.map(({ item: index }) => {
    const item = byIndex.get(index)
    if (!item?.imageId) throw new RequestError('IMAGE_UNKNOWN', { image: item?.name ?? `item ${index} of ${set.dataset.id}` })
    return pictureFile(context, item.imageId, 'image')
  })
}

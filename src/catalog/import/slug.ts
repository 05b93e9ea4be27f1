/**
 * A model's id from the name that it is published under. The same name gives the same id for ever; two names may give the same id, and
 * then the second import asks for `--id`.
 */

import path from 'node:path'
import { EngineError } from '../../engine/errors.js'
import { isModelSlug } from '../models.js'
import type { ImportSource } from './source.js'

/** How long it was trained, on how many examples at once: `-s13B-b90K` in LAION's names says nothing that tells models apart. */
const TRAINING_RUN = /-s[\d.]+[bm]-b[\d.]+k$/i

/** `laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K` -> `clip-vit-b-32-datacomp-xl`. @throws INPUT_INVALID when nothing is left */
export function slugOf(source: ImportSource): string {
  const name = source.kind === 'hub' ? (source.repo.split('/').at(-1) ?? '') : path.basename(source.folder)
  const slug = name
    .replace(TRAINING_RUN, '')
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 100)
    .replace(/-+$/, '')
  return checkedSlug(slug)
}

/** @throws INPUT_INVALID when `id` is not a slug */
export function checkedSlug(id: string): string {
  if (isModelSlug(id)) return id
  throw new EngineError('INPUT_INVALID', {
    path: 'id',
    problem: `"${id}" cannot be a model's id. Ids are lower-case letters, digits and single hyphens, such as clip-vit-b-32 (--id).`,
  })
}

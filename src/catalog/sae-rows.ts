/**
 * An SAE's entry as a row of `saes`, and back.
 */

import path from 'node:path'
import type { SaeDescription } from '../engine/saes/load-sae.js'
import type { Architecture } from '../engine/saes/sae.js'
import { Prisma, type Sae, type SaeFile } from '../generated/prisma/client.js'
import { layerOf } from './sae-id.js'
import type { AttachedFiles, NewSae, SaeDownload, SaeEntry, SaeFacts, SaeProvenance } from './saes.js'
import { storableJson, storableText, storedFolder } from './stored-values.js'

export function rowOfSae(sae: NewSae, dataDir: string): Prisma.SaeUncheckedCreateInput {
  const { provenance, download, isPublished = false, note, ...facts } = sae
  const { id, modelId, release, suite, architecture, hookPointIn, hookPointOut, layer, positions, trainedOn, license, file } = facts
  return {
    ...{ id, modelId, release, suite, architecture, hookPointIn, hookPointOut, layer, positions, license, file, isPublished },
    ...{ width: facts.width, dIn: facts.dIn, dOut: facts.dOut, k: facts.k, l1Coefficient: facts.l1Coefficient },
    trainedOn: trainedOn === null ? null : storableText(trainedOn),
    note: note === null ? null : storableText(note),
    ...sourceColumns(provenance),
    ...(download && downloadColumns(download, dataDir)),
    words: wordsOf(sae),
  }
}

/** What changes when the files arrive: sizes, hook points and architecture are what they say. */
export function rowOfAttached(existing: SaeEntry, attached: AttachedFiles, dataDir: string): Prisma.SaeUncheckedUpdateInput {
  const { provenance, license, file, description } = attached
  const { config, training } = description
  const hookPointOut = config.transcoder?.hookPointOut ?? config.hookPoint
  const facts: SaeFacts = {
    ...existing,
    ...{ architecture: config.architecture, hookPointIn: config.hookPoint, hookPointOut, layer: layerOf(config.hookPoint) },
    ...{ width: config.dSae, dIn: config.dIn, dOut: config.dOut, k: config.k ?? null },
    positions: training.positions ?? existing.positions,
    trainedOn: existing.trainedOn ?? training.datasetName ?? null,
    l1Coefficient: training.l1Coefficient ?? existing.l1Coefficient,
    ...{ provenance, license: license ?? existing.license, file },
  }
  const { id: _id, modelId: _modelId, ...columns } = rowOfSae({ ...facts, isPublished: existing.isPublished, download: attached }, dataDir)
  return columns
}

/** An entry that has lost its files. */
export const withoutDownload = {
  ...{ folder: null, weightsSha256: null, weightBytes: null },
  description: Prisma.DbNull,
} as const satisfies Prisma.SaeUncheckedUpdateInput

function downloadColumns({ folder, weightsSha256, weightBytes, description }: SaeDownload, dataDir: string) {
  return {
    folder: storedFolder(folder, dataDir),
    weightsSha256,
    weightBytes: BigInt(weightBytes),
    description: storableJson(description),
  }
}

function sourceColumns(provenance: SaeProvenance) {
  const none = { revision: null, requestedRevision: null, endpoint: null }
  if (provenance.kind !== 'hub') return { sourceKind: provenance.kind, source: storableText(provenance.name), ...none }
  const { repo, revision, requestedRevision, endpoint } = provenance
  return { sourceKind: 'hub' as const, source: repo, revision, requestedRevision, endpoint }
}

/** Everything that one may search an entry by, as words in lower case with a space before each. */
export function wordsOf(sae: SaeFacts): string {
  const { provenance, ...facts } = sae
  const where = provenance.kind === 'hub' ? provenance.repo : provenance.name
  const kind = facts.hookPointIn === facts.hookPointOut ? 'sae' : 'transcoder'
  const texts = [facts.id, facts.release, facts.suite, facts.architecture, facts.hookPointIn, facts.hookPointOut, kind]
  const more = [facts.positions, facts.trainedOn, facts.note, where]
  const words = new Set([...texts, ...more].flatMap((text) => searchWords(text ?? '')))
  return [...words].map((word) => ` ${word}`).join('')
}

/** Runs of letters and digits, in lower case. */
export function searchWords(text: string): string[] {
  return (
    storableText(text)
      .toLowerCase()
      .match(/[\p{L}\p{N}]+/gu) ?? []
  )
}

export function saeEntryOf(row: Sae & { files: SaeFile[] }, dataDir: string): SaeEntry {
  const { id, modelId, release, suite, hookPointIn, hookPointOut, layer, positions, trainedOn, width, dIn, dOut, k, l1Coefficient } = row
  return {
    ...{ id, modelId, release, suite, hookPointIn, hookPointOut, layer, positions, trainedOn, width, dIn, dOut, k, l1Coefficient },
    architecture: row.architecture as Architecture,
    provenance: provenanceOf(row),
    file: row.file,
    license: row.license,
    note: row.note,
    isPublished: row.isPublished,
    download: downloadOf(row, dataDir),
    createdAt: row.createdAt,
  }
}

function provenanceOf({ sourceKind, source, revision, requestedRevision, endpoint }: Sae): SaeProvenance {
  return sourceKind === 'hub' ? { kind: 'hub', repo: source, revision, requestedRevision, endpoint } : { kind: sourceKind, name: source }
}

function downloadOf({ folder, files, weightsSha256, weightBytes, description }: Sae & { files: SaeFile[] }, dataDir: string) {
  if (folder === null || weightsSha256 === null) return null
  return {
    folder: path.resolve(dataDir, folder),
    files: files.map((file) => ({ path: file.path, bytes: Number(file.bytes), sha256: file.sha256 })),
    weightsSha256,
    weightBytes: Number(weightBytes),
    description: description as unknown as SaeDescription,
  }
}

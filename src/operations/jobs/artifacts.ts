/** Files that a job leaves: kept in the blob store, named in its result. */

import type { BlobStore } from '../../catalog/blob-store.js'
import type { Json } from './job-kind.js'

export const artifactTypes = {
  json: 'application/json',
  csv: 'text/csv; charset=utf-8',
  svg: 'image/svg+xml',
  arrow: 'application/vnd.apache.arrow.stream',
} as const
export type ArtifactType = keyof typeof artifactTypes

export interface ArtifactRecord {
  /** `report.json`; its ending says what it is. */
  readonly name: string
  readonly bytes: number
  readonly sha256: string
  readonly [key: string]: string | number
}

/** In the order of the names. */
export async function putArtifacts(
  blobs: Pick<BlobStore, 'put'>,
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<ArtifactRecord[]> {
  const records: ArtifactRecord[] = []
  for (const [name, content] of Object.entries(files)) {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    records.push({ name, bytes: bytes.byteLength, sha256: await blobs.put(bytes) })
  }
  return records
}

/** Those that the result of a job names; none where it names none. */
export function artifactsOf(result: Json | undefined): readonly ArtifactRecord[] {
  if (typeof result !== 'object' || result === null || Array.isArray(result)) return []
  const { artifacts } = result as { readonly artifacts?: Json }
  return Array.isArray(artifacts) ? artifacts.filter(isArtifact) : []
}

function isArtifact(value: Json): value is ArtifactRecord {
  if (typeof value !== 'object' || value === null) return false
  const { name, bytes, sha256 } = value as Partial<ArtifactRecord>
  return typeof name === 'string' && typeof bytes === 'number' && typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)
}

/** By its ending. */
export function artifactType(name: string): string {
  const ending = name.slice(name.lastIndexOf('.') + 1)
  return Object.hasOwn(artifactTypes, ending) ? artifactTypes[ending as ArtifactType] : 'application/octet-stream'
}

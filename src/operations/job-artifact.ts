/** A file that a job left: a report, a table, a plot. */

import { Type } from 'typebox'
import { RequestError } from './errors.js'
import { findJob } from './job.js'
import { artifactsOf, artifactType } from './jobs/artifacts.js'
import type { Json } from './jobs/job-kind.js'
import { defineOperation } from './operation.js'
import { JobId } from './schemas/job.js'

export interface ArtifactFile {
  /** sha256 of the bytes. */
  readonly tag: string
  readonly type: string
  read(): Promise<Uint8Array>
}

export const jobArtifact = defineOperation({
  name: 'jobArtifact',
  kind: 'query',
  scope: 'read',
  summary: 'A file that a job left: a report, a table, a plot',
  input: Type.Object(
    { id: JobId, name: Type.String({ minLength: 1, maxLength: 200, description: "As the job's result names it: `report.json`." }) },
    { title: 'JobArtifactInput', additionalProperties: false },
  ),
  output: Type.Unsafe<ArtifactFile>({ description: 'The file.' }),

  async run({ catalog }, { id, name }) {
    const { result } = await findJob(catalog, id)
    const artifacts = artifactsOf(result as Json | undefined)
    const artifact = artifacts.find((each) => each.name === name)
    const unknown = () => new RequestError('ARTIFACT_UNKNOWN', { job: id, artifact: name, known: artifacts.map((each) => each.name) })
    if (!artifact) throw unknown()
    return {
      tag: artifact.sha256,
      type: artifactType(name),
      async read() {
        const bytes = await catalog.blobs.get(artifact.sha256)
        if (!bytes) throw unknown()
        return bytes
      },
    }
  },
})

/**
 * Bytes by content hash in a bucket of S3 or of anything that speaks its language, so that workers on several machines share them:
 * `<prefix>sha256/ab/abcd...`. An object is there whole or not at all, which S3 itself promises; reading checks the hash.
 */

import { createHash } from 'node:crypto'
import type { S3Client } from '@aws-sdk/client-s3'
import type { Config } from '../config.js'
import { EngineError } from '../engine/errors.js'
import { type BlobStore, FRESH_MS } from './blob-store.js'

export interface S3Place {
  /** `s3://bucket` or `s3://bucket/folder/below`. */
  readonly url: string
  /** Empty: Amazon's own. */
  readonly endpoint: string
  readonly region: string
}

/** Undefined where blobs are in the data folder. */
export function s3Of({ blobStore, s3Endpoint, s3Region }: Pick<Config, 'blobStore' | 's3Endpoint' | 's3Region'>): S3Place | undefined {
  return blobStore === '' ? undefined : { url: blobStore, endpoint: s3Endpoint, region: s3Region }
}

const CONNECT_MS = 5000
const REQUEST_MS = 120_000
const REMOVALS_AT_ONCE = 16
const PUTS_AT_ONCE = 32

/** The name of a store: the same for everyone who uses it. */
export function s3PlaceName({ url, endpoint }: S3Place): string {
  const { bucket, prefix } = bucketOf(url)
  return `s3:${endpoint}/${bucket}/${prefix}`
}

/**
 * Credentials are found as Amazon's own tools find them: environment, `~/.aws`, the role of the machine.
 * @throws BLOBS_UNAVAILABLE when there is no such bucket, or nothing answers
 */
export async function openS3BlobStore(place: S3Place): Promise<BlobStore & { close(): void }> {
  // a library of many files that few need
  const { DeleteObjectCommand, GetObjectCommand, HeadBucketCommand, HeadObjectCommand, PutObjectCommand } = await import(
    '@aws-sdk/client-s3'
  )
  const client = await clientOf(place)
  const refusal = (error: unknown) => unavailable(error, place)
  const objectOf = (sha256: string) => objectIn(place, sha256)
  try {
    await client.send(new HeadBucketCommand({ Bucket: bucketOf(place.url).bucket }))
  } catch (error) {
    // who may read and write objects may often not ask about the bucket
    if (statusOf(error) !== 403) {
      client.destroy()
      throw refusal(error)
    }
  }

  const put: BlobStore['put'] = async (bytes) => {
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const object = objectOf(sha256)
    try {
      const known = await client.send(new HeadObjectCommand(object)).catch((error: unknown) => {
        if (statusOf(error) === 404 || statusOf(error) === 403) return undefined
        throw error
      })
      // written anew long before `remove` would take it for stale
      const isFresh = Date.now() - (known?.LastModified?.getTime() ?? 0) < FRESH_MS / 2
      if (known?.ContentLength !== bytes.byteLength || !isFresh) await client.send(new PutObjectCommand({ ...object, Body: bytes }))
      return sha256
    } catch (error) {
      throw refusal(error)
    }
  }

  return {
    put,

    async putAll(files) {
      const hashes: string[] = []
      for (let start = 0; start < files.length; start += PUTS_AT_ONCE) {
        hashes.push(...(await Promise.all(files.slice(start, start + PUTS_AT_ONCE).map(put))))
      }
      return hashes
    },

    async get(sha256) {
      let bytes: Uint8Array
      try {
        const { Body } = await client.send(new GetObjectCommand(objectOf(sha256)))
        bytes = (await Body?.transformToByteArray()) ?? new Uint8Array()
      } catch (error) {
        if (statusOf(error) === 404 && nameOf(error) !== 'NoSuchBucket') return undefined
        throw refusal(error)
      }
      if (createHash('sha256').update(bytes).digest('hex') !== sha256) {
        throw new EngineError('FILE_INVALID', {
          file: `sha256:${sha256}`,
          problem: `its bytes in ${place.url} are damaged (they have another sha256). Remove the object and upload the file again.`,
        })
      }
      return bytes
    },

    async remove(sha256) {
      try {
        const known = await client.send(new HeadObjectCommand(objectOf(sha256)))
        if (Date.now() - (known.LastModified?.getTime() ?? Date.now()) > FRESH_MS)
          await client.send(new DeleteObjectCommand(objectOf(sha256)))
      } catch (error) {
        if (statusOf(error) !== 404) throw refusal(error)
      }
    },

    close: () => client.destroy(),
  }
}

/** What is not there is no error. @throws BLOBS_UNAVAILABLE */
export async function removeS3Blobs(place: S3Place, hashes: readonly string[]): Promise<void> {
  const { DeleteObjectCommand } = await import('@aws-sdk/client-s3')
  const client = await clientOf(place)
  try {
    // one by one: removing many with one request needs a checksum that not every server knows
    for (let start = 0; start < hashes.length; start += REMOVALS_AT_ONCE) {
      const some = hashes.slice(start, start + REMOVALS_AT_ONCE)
      await Promise.all(some.map((sha256) => client.send(new DeleteObjectCommand(objectIn(place, sha256)))))
    }
  } catch (error) {
    throw unavailable(error, place)
  } finally {
    client.destroy()
  }
}

async function clientOf({ region, endpoint }: S3Place): Promise<S3Client> {
  const { S3Client } = await import('@aws-sdk/client-s3')
  return new S3Client({
    region,
    ...(endpoint !== '' && { endpoint, forcePathStyle: true }),
    // newer checksums than S3's own that other servers do not know; the key is a checksum
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: REQUEST_MS },
  })
}

function objectIn({ url }: S3Place, sha256: string): { readonly Bucket: string; readonly Key: string } {
  const { bucket, prefix } = bucketOf(url)
  return { Bucket: bucket, Key: `${prefix}sha256/${sha256.slice(0, 2)}/${sha256}` }
}

function bucketOf(url: string): { bucket: string; prefix: string } {
  const { hostname, pathname } = new URL(url)
  const folder = pathname.replace(/^\/+|\/+$/g, '')
  return { bucket: hostname, prefix: folder === '' ? '' : `${folder}/` }
}

const statusOf = (error: unknown) => (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
const nameOf = (error: unknown) => (error as Error).name

function unavailable(error: unknown, { url, endpoint }: S3Place): EngineError {
  const where = endpoint === '' ? url : `${url} at ${endpoint}`
  const status = statusOf(error)
  const [problem, instead] =
    nameOf(error) === 'NoSuchBucket' || status === 404
      ? ['there is no such bucket', 'Create it, or correct REFRACT_BLOB_STORE.']
      : status === 403 || nameOf(error) === 'CredentialsProviderError'
        ? ['the credentials are missing or may not do that', 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role of the machine.']
        : [`${nameOf(error)}: ${firstLine(error)}`, 'Try again; when it lasts, look at REFRACT_BLOB_STORE and AWS_ENDPOINT_URL_S3.']
  return new EngineError('BLOBS_UNAVAILABLE', { store: where, problem, instead })
}

function firstLine(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return message.split('\n')[0] || code || 'no answer'
}

/**
 * Looks at every picture once, when a data set is opened: reads it, hashes it and decodes it, so that a damaged file among thousands is
 * known before a run begins and not after three hours of it.
 */

import { createHash, type Hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { EngineError, type Problem } from '../errors.js'
import { type ImageInfo, type ImageLimits, inspectHeader, inspectImage } from '../image/decode.js'
import { type Dataset, type DatasetItem, type Finding, FindingCounter, named, type PictureSource } from './dataset.js'

export interface ExamineOptions {
  readonly limits: ImageLimits
  /** What to do about a picture that cannot be read: fail and name it, or leave it out and report it. */
  readonly unreadable: 'fail' | 'skip'
  /** `decode` reads every picture to its end; `header` only looks how it starts, for sets that take too long to decode twice. */
  readonly check: 'decode' | 'header'
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** Told of every picture that can be read and has a file. */
  readonly onPicture?: ((source: PictureSource, facts: PictureFacts) => void) | undefined
}

export interface PictureFacts extends ImageInfo {
  /** Of the file, in hex. */
  readonly sha256: string
}

/** A data set before its pictures were looked at. */
export interface Draft {
  readonly name: string
  readonly items: readonly DatasetItem[]
  readonly nClasses?: number
  readonly classNames?: readonly string[]
  readonly ignored: Finding
}

/** Files that are read and decoded at a time. */
const AT_A_TIME = 32
/** Unreadable pictures that a refusal names one by one; it counts the others. */
const MAX_NAMED = 1000
/** Larger pictures are decoded one after the other: thirty-two of the largest at once would take all memory. */
const LARGE_PIXELS = 4_000_000

interface Examining extends ExamineOptions {
  readonly oneByOne: <T>(work: () => Promise<T>) => Promise<T>
}

function oneByOne(): Examining['oneByOne'] {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const mine = last.then(work)
    last = mine.catch(() => {})
    return mine
  }
}

/**
 * @throws DATASET_INVALID with the pictures that cannot be read as its problems, or the classes that nothing is left of; what `signal` says
 */
export async function examined(draft: Draft, options: ExamineOptions): Promise<Dataset> {
  const { name, items, nClasses, classNames, ignored } = draft
  const unreadable = new FindingCounter()
  const identical = new FindingCounter()
  const seen = new Map<string, string>()
  const refused: Problem[] = []
  const kept: DatasetItem[] = []
  const hash = createHash('sha256')
  addLine(hash, { classes: classNames ?? nClasses ?? null })
  const examining: Examining = { ...options, oneByOne: oneByOne() }

  for (let start = 0; start < items.length; start += AT_A_TIME) {
    options.signal?.throwIfAborted()
    const looked = await Promise.all(items.slice(start, start + AT_A_TIME).map((item) => lookAt(item, examining)))
    for (const { item, digests, problems } of looked) {
      for (const { path, message } of problems) {
        unreadable.add(`${path} (${message})`)
        if (refused.length < MAX_NAMED) refused.push({ path, message })
      }
      if (item === undefined) continue
      for (const digest of digests) {
        const earlier = seen.get(digest)
        if (earlier === undefined) seen.set(digest, item.name)
        else identical.add(`${item.name} (as ${earlier})`)
      }
      addLine(hash, [item.label ?? null, (item.captions ?? []).map(({ text, weight }) => [text, weight]), digests])
      kept.push(item)
    }
    options.onProgress?.(Math.min(items.length, start + AT_A_TIME), items.length)
  }
  if (unreadable.count > 0 && options.unreadable === 'fail') {
    const problem = `${unreadable.count} of ${items.length} pictures cannot be read: ${named(unreadable.finding)}. Mend or remove them, or set unreadable to "skip".`
    throw new EngineError('DATASET_INVALID', { dataset: name, problem }, refused)
  }
  requireClasses(name, items, kept, draft)
  return {
    name,
    hash: hash.digest('hex'),
    size: kept.length,
    ...(nClasses !== undefined && { nClasses }),
    ...(classNames !== undefined && { classNames }),
    report: { unreadable: unreadable.finding, identical: identical.finding, ignored },
    item: (index) => kept[index]!,
  }
}

interface Looked {
  /** Without the variants that cannot be read; undefined when its picture cannot be. */
  readonly item?: DatasetItem
  /** Of the picture and its variants. */
  readonly digests: readonly string[]
  readonly problems: readonly Problem[]
}

async function lookAt(item: DatasetItem, options: Examining): Promise<Looked> {
  const problems: Problem[] = []
  const digest = async (source: PictureSource, name: string): Promise<string | undefined> => {
    try {
      return await digestOf(source, options)
    } catch (error) {
      if (!(error instanceof Error)) throw error
      problems.push({ path: name, message: reasonOf(error) })
      return undefined
    }
  }
  const own = await digest(item.picture, item.name)
  const variants: PictureSource[] = []
  const digests: string[] = own === undefined ? [] : [own]
  for (const [index, variant] of (item.variants ?? []).entries()) {
    const ofVariant = await digest(variant, `variant ${index + 1} of ${item.name}`)
    if (ofVariant === undefined) continue
    variants.push(variant)
    digests.push(ofVariant)
  }
  if (own === undefined) return { digests, problems }
  return { item: item.variants === undefined ? item : { ...item, variants }, digests, problems }
}

async function digestOf(source: PictureSource, { check, limits, onPicture, oneByOne }: Examining): Promise<string> {
  if (source.kind === 'drawn') {
    const { width, height, channels, data } = source.draw()
    return createHash('sha256').update(`${width} ${height} ${channels}\n`).update(data).digest('hex')
  }
  const bytes = await bytesOf(source)
  const info = await inspectHeader(bytes, limits)
  if (check === 'decode') {
    const decoded = () => inspectImage(bytes, limits)
    await (info.width * info.height > LARGE_PIXELS ? oneByOne(decoded) : decoded())
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  onPicture?.(source, { ...info, sha256 })
  return sha256
}

export async function bytesOf(source: Exclude<PictureSource, { kind: 'drawn' }>): Promise<Uint8Array> {
  switch (source.kind) {
    case 'file':
      return readFile(source.path)
    case 'stored':
      return source.read()
    case 'bytes':
      return source.bytes
    default:
      return source satisfies never
  }
}

/** Without the picture's own preamble, and without paths: of a failed system call its code. */
export function reasonOf(error: Error): string {
  if (error instanceof EngineError && error.code === 'IMAGE_INVALID')
    return (error.details as { problem: string }).problem.replace(/\.$/, '')
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return 'it is not there'
  return error instanceof EngineError || code === undefined ? error.message : code
}

function addLine(hash: Hash, value: unknown): void {
  hash.update(`${JSON.stringify(value)}\n`)
}

/** Every class that had pictures still has some. */
function requireClasses(name: string, items: readonly DatasetItem[], kept: readonly DatasetItem[], draft: Draft): void {
  if (kept.length === 0) throw new EngineError('DATASET_INVALID', { dataset: name, problem: 'none of its pictures can be read.' })
  const labels = (of: readonly DatasetItem[]) => new Set(of.map(({ label }) => label))
  const left = labels(kept)
  const emptied = [...labels(items)].filter((label) => !left.has(label))
  if (emptied.length === 0) return
  const names = emptied.slice(0, 10).map((label) => `"${draft.classNames?.[label ?? -1] ?? label}"`)
  const problem = `none of the pictures of ${emptied.length === 1 ? 'class' : `${emptied.length} classes:`} ${names.join(', ')} can be read.`
  throw new EngineError('DATASET_INVALID', { dataset: name, problem })
}

import { deflateRawSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ByteSource, bytesSource } from '../../../src/engine/io/byte-source.js'
import { joinChunks } from '../../../src/engine/io/named-tensors.js'
import { crcOf } from '../../../src/engine/io/zip-layout.js'
import { readZipDirectory, readZipEntry } from '../../../src/engine/io/zip-reader.js'
import { zipChunks, zipStream } from '../../../src/engine/io/zip-writer.js'
import { fixtureBytes } from './fixtures.js'

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))
const entries = { 'a.txt': bytesOf('hello'), 'folder/b.txt': bytesOf(''), 'ü.bin': Uint8Array.of(1, 2, 3) }

const write = (files: Record<string, Uint8Array>) =>
  new Uint8Array(joinChunks(zipChunks(Object.entries(files).map(([name, bytes]) => ({ name, chunks: [bytes] })))))

async function readAll(source: ByteSource, maxBytes = 2 ** 20): Promise<Record<string, Uint8Array>> {
  const directory = await readZipDirectory(source, 'file.zip')
  const files: Record<string, Uint8Array> = Object.create(null)
  for (const [name, entry] of directory.entries) files[name] = await readZipEntry(source, directory, { entry, maxBytes })
  return files
}

describe('archives', () => {
  test('there and back changes nothing', async () => {
    const name = fc.string({ unit: 'grapheme', maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 100 })), { selector: ([name]) => name }), async (files) => {
        const archive = joinChunks(zipChunks(files.map(([name, bytes]) => ({ name, chunks: [bytes.subarray(0, 7), bytes.subarray(7)] }))))
        expect(Object.entries(await readAll(bytesSource(archive)))).toEqual(
          Object.entries(Object.assign(Object.create(null), Object.fromEntries(files))),
        )
      }),
    )
  })

  test('of more than 65535 entries and of more than 4 GiB are written and read with zip64 records', async () => {
    const many = zipChunks(Array.from({ length: 70_000 }, (_, i) => ({ name: String(i), chunks: [Uint8Array.of(i & 255)] })))
    const directory = await readZipDirectory(bytesSource(joinChunks(many)), 'many.zip')
    expect(directory.entries.size).toBe(70_000)

    // One piece of memory, again and again: four gigabytes that nobody has.
    const piece = new Uint8Array(2 ** 25)
    const huge = zipChunks([
      { name: 'before', chunks: [bytesOf('before')] },
      { name: 'huge', chunks: new Array<Uint8Array>(129).fill(piece) },
      { name: 'after', chunks: [bytesOf('after')] },
    ])
    const source = chunksSource(huge)
    const big = await readZipDirectory(source, 'big.zip')
    expect(big.entries.get('huge')!.size).toBe(129 * 2 ** 25)
    expect(big.entries.get('after')!.headerOffset).toBeGreaterThan(2 ** 32)
    expect(await readZipEntry(source, big, { entry: big.entries.get('after')!, maxBytes: 100 })).toEqual(bytesOf('after'))
  })

  test('made while they are sent are the same bytes, and their length is known before', () => {
    const contents = Object.entries(entries).map(([name, bytes]) => ({ name, chunks: [bytes], alignTo: 64 }))
    const { byteLength, chunks } = zipStream(contents)
    const sent = joinChunks([...chunks])
    expect(sent).toEqual(joinChunks(zipChunks(contents)))
    expect(byteLength).toBe(sent.byteLength)
  })

  test('the checksum is the one that everybody uses', () => {
    expect(crcOf(bytesOf('123456789'))).toBe(0xcbf43926)
    expect(crcOf(bytesOf('6789'), crcOf(bytesOf('12345')))).toBe(0xcbf43926)
  })
})

describe('an archive that lies is refused', () => {
  const refusal = async (bytes: Uint8Array, message: RegExp, maxBytes?: number) =>
    expect(readAll(bytesSource(bytes), maxBytes)).rejects.toMatchObject({ code: 'FILE_INVALID', message: expect.stringMatching(message) })

  const good = write(entries)
  const end = good.length - 22
  const centralAt = (n: number) => {
    let at = new DataView(good.buffer).getUint32(end + 16, true)
    for (let i = 0; i < n; i++) at += 46 + good[at + 28]!
    return at
  }
  /** The good archive with a little-endian number written into it. */
  const patched = (at: number, value: number, width: 2 | 4) => {
    const copy = good.slice()
    const view = new DataView(copy.buffer)
    if (width === 2) view.setUint16(at, value, true)
    else view.setUint32(at, value, true)
    return copy
  }

  test.each<[string, Uint8Array, RegExp]>([
    ['no archive', bytesOf('PK'), /not a complete zip archive/],
    ['nothing', new Uint8Array(), /not a complete zip archive/],
    ['something after the end', new Uint8Array([...good, 0]), /not a complete zip archive/],
    ['something before the beginning', new Uint8Array([0, ...good]), /not where its end record says/],
    ['the second of two disks', patched(end + 4, 1, 2), /several disks/],
    ['more entries than there are', patched(end + 8, 4, 2).map((byte, i) => (i === end + 10 ? 4 : byte)), /damaged/],
    ['fewer entries than there are', patched(end + 8, 2, 2).map((byte, i) => (i === end + 10 ? 2 : byte)), /does not hold the 2 entries/],
    ['a directory elsewhere', patched(end + 16, 0, 4), /not where its end record says/],
    ['an encrypted entry', patched(centralAt(0) + 8, 1, 2), /"a.txt" is encrypted/],
    ['an unknown compression', patched(centralAt(0) + 10, 99, 2), /"a.txt" is compressed by method 99/],
    ['another checksum', patched(centralAt(0) + 16, 1, 4), /"a.txt" is damaged/],
    ['another content', patched(35, 0, 2), /"a.txt" is damaged/],
    ['a stored entry of two sizes', patched(centralAt(0) + 24, 6, 4), /"a.txt" claims 6 bytes of content in 5/],
    [
      'a stored entry of 4 GB',
      patched(centralAt(0) + 24, 0xfffffffe, 4).map((byte, i) =>
        i >= centralAt(0) + 20 && i < centralAt(0) + 24 ? (i === centralAt(0) + 20 ? 0xfe : 0xff) : byte,
      ),
      /overlaps what follows it/,
    ],
    ['an entry that begins in another', patched(centralAt(1) + 42, 10, 4), /overlaps|disagree/],
    ['two entries in one place', patched(centralAt(1) + 42, 0, 4), /overlaps/],
    ['an entry beyond the file', patched(centralAt(2) + 42, 1_000_000, 4), /overlaps what follows it or reaches beyond/],
    ['a name that its header does not have', patched(centralAt(0) + 46, 0x62, 2), /disagree about its name/],
    ['a length that its header does not have', patched(18, 4, 4), /disagree about its length/],
    ['a header whose name reaches beyond', patched(26, 60_000, 2), /disagree about its length/],
    ['a header that is compressed', patched(8, 8, 2), /disagree about its compression/],
  ])('%s', async (_, bytes, message) => {
    await refusal(bytes, message)
  })

  test('two entries of one name', async () => {
    await refusal(
      joinChunks(
        zipChunks([entries, entries].flatMap((files) => Object.entries(files).map(([name, bytes]) => ({ name, chunks: [bytes] })))),
      ),
      /two entries named/,
    )
  })

  test('more entries than are read', async () => {
    const many = zipChunks(Array.from({ length: 100_001 }, (_, i) => ({ name: String(i), chunks: [] })))
    await refusal(joinChunks(many), /claims 100001 entries/)
  })

  test('a zip bomb, whatever it claims to grow to', async () => {
    const bomb = deflateRawSync(new Uint8Array(50_000_000), { level: 9 })
    await refusal(deflated(bomb, { size: 50_000_000 }), /has 50000000 bytes; at most 1048576 are read/)
    await refusal(deflated(bomb, { size: 1_000_000 }), /does not decompress to the 1000000 bytes/)
    await refusal(deflated(bomb, { size: 0 }), /does not decompress to the 0 bytes/)
    await refusal(deflated(bomb, { size: 2 ** 31 }), /cannot be/)
    await refusal(deflated(bytesOf('this is not deflate'), { size: 100 }), /does not decompress/)
  })

  test('any byte changed, or any end cut off: refused, or read as it was', async () => {
    for (const original of [good, fixtureBytes('compressed.npz')]) {
      const wanted = await readAll(bytesSource(original))
      await fc.assert(
        fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 0, max: 255 }), async (at, mask) => {
          const bytes = mask === 0 ? original.slice(0, at) : original.map((byte, i) => (i === at ? byte ^ mask : byte))
          try {
            expect(await readAll(bytesSource(bytes))).toEqual(wanted)
          } catch (error) {
            expect(error).toMatchObject({ code: 'FILE_INVALID' })
          }
        }),
        { numRuns: 1000 },
      )
    }
  })
})

/** An archive of one deflated entry that claims to have `size` bytes of content. */
function deflated(content: Uint8Array, { size }: { size: number }): Uint8Array {
  const bytes = write({ x: content })
  const view = new DataView(bytes.buffer)
  const central = view.getUint32(bytes.length - 22 + 16, true)
  view.setUint16(8, 8, true)
  view.setUint16(central + 10, 8, true)
  view.setUint32(central + 24, size, true)
  return bytes
}

/** A source over chunks that are never joined. */
function chunksSource(chunks: readonly Uint8Array[]): ByteSource {
  const size = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0)
  return {
    size,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length)
      let start = 0
      for (const chunk of chunks) {
        const from = Math.max(offset, start)
        const to = Math.min(offset + length, start + chunk.byteLength)
        if (from < to) bytes.set(chunk.subarray(from - start, to - start), from - offset)
        start += chunk.byteLength
      }
      return bytes
    },
  }
}

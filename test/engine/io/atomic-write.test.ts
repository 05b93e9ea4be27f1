import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { restorePrevious, writeFileAtomically, writeFolderAtomically, writeThrough } from '../../../src/engine/io/atomic-write.js'

let root: string
beforeEach(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'atomic-'))
})
afterEach(() => fs.rm(root, { recursive: true }))

const text = (...parts: string[]) => fs.readFile(path.join(root, ...parts), 'utf8')
const bytes = (value: string) => new TextEncoder().encode(value)

/** Pieces of which the second finds the disk full. */
async function* fillingTheDisk() {
  yield bytes('half of ')
  throw Object.assign(new Error('write'), { code: 'ENOSPC' })
}

describe('a file', () => {
  test('is made, with the folders on the way, and replaced', async () => {
    const file = path.join(root, 'a/b/c.txt')
    await writeFileAtomically(file, 'first')
    await writeFileAtomically(file, [bytes('sec'), bytes('ond')])
    expect(await text('a/b/c.txt')).toBe('second')
    expect(await fs.readdir(path.join(root, 'a/b'))).toEqual(['c.txt'])
  })

  test('that a full disk cuts short stays as it was', async () => {
    const file = path.join(root, 'c.txt')
    await writeFileAtomically(file, 'first')
    await expect(writeFileAtomically(file, fillingTheDisk())).rejects.toMatchObject({ code: 'STORAGE_FULL' })
    expect(await text('c.txt')).toBe('first')
    expect(await fs.readdir(root)).toEqual(['c.txt'])
  })

  test('is not written by who is stopped', async () => {
    const file = path.join(root, 'c.txt')
    await expect(writeFileAtomically(file, [bytes('x')], { signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow(
      /stop|abort/i,
    )
    expect(await fs.readdir(root)).toEqual([])
  })
})

describe('a folder', () => {
  const holding = (value: string) => (aside: string) => writeThrough(path.join(aside, 'x'), value)

  test('appears when everything in it is written', async () => {
    const folder = path.join(root, 'runs/one')
    await writeFolderAtomically(folder, async (aside) => {
      await expect(fs.stat(folder)).rejects.toThrow()
      await holding('1')(aside)
    })
    expect(await text('runs/one/x')).toBe('1')
    expect(await fs.readdir(path.join(root, 'runs'))).toEqual(['one'])
  })

  test('that is empty is filled; one that holds files only when that was asked for', async () => {
    const folder = path.join(root, 'one')
    await fs.mkdir(folder)
    await writeFolderAtomically(folder, holding('1'))
    const refused = writeFolderAtomically(folder, holding('2'))
    await expect(refused).rejects.toMatchObject({ code: 'INPUT_INVALID', message: expect.stringContaining('holds files already') })
    expect(await text('one/x')).toBe('1')
    await writeFolderAtomically(folder, holding('2'), { replace: true })
    expect(await text('one/x')).toBe('2')
    expect(await fs.readdir(root)).toEqual(['one'])
  })

  test('is not put in the place of a file', async () => {
    await fs.writeFile(path.join(root, 'one'), '')
    await expect(writeFolderAtomically(path.join(root, 'one'), holding('1'), { replace: true })).rejects.toThrow(/is a file/)
  })

  test.each(['write', 'rename'])('that a full disk cuts short (at the %s) leaves the previous one whole', async (at) => {
    const folder = path.join(root, 'one')
    await writeFolderAtomically(folder, holding('1'))
    const full = Object.assign(new Error(at), { code: 'ENOSPC' })
    const write = async (aside: string) => {
      await holding('2')(aside)
      if (at === 'write') throw full
      const rename = fs.rename
      vi.spyOn(fs, 'rename').mockImplementation(async (from, to) => {
        if (from === aside) throw full
        return rename(from, to)
      })
    }
    try {
      await expect(writeFolderAtomically(folder, write, { replace: true })).rejects.toMatchObject({ code: 'STORAGE_FULL' })
    } finally {
      vi.restoreAllMocks()
    }
    expect(await text('one/x')).toBe('1')
    expect(await fs.readdir(root)).toEqual(['one'])
  })

  test('reached through a link is replaced, and the link stays', async () => {
    await writeFolderAtomically(path.join(root, 'one'), holding('1'))
    await fs.symlink('one', path.join(root, 'link'))
    await writeFolderAtomically(path.join(root, 'link'), holding('2'), { replace: true })
    expect([await text('one/x'), await fs.readlink(path.join(root, 'link'))]).toEqual(['2', 'one'])
  })

  test('of a process killed between the two renames is put back', async () => {
    const folder = path.join(root, 'one')
    await writeFolderAtomically(folder, holding('1'))
    const script = path.join(import.meta.dirname, 'killed-while-replacing.ts')
    const child = spawn(process.execPath, ['--import', 'tsx', script, folder], { stdio: 'inherit' })
    const [, signal] = await once(child, 'exit')
    expect(signal).toBe('SIGKILL')
    await expect(fs.stat(folder)).rejects.toThrow()
    await restorePrevious(folder)
    expect(await text('one/x')).toBe('1')
    await writeFolderAtomically(folder, holding('2'), { replace: true })
    expect(await text('one/x')).toBe('2')
  })
})

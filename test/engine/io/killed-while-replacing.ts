/** A process that dies, as by kill -9, when the folder it replaces was set aside and the new one has not its name yet. */

import fs from 'node:fs/promises'
import path from 'node:path'
import { writeFolderAtomically, writeThrough } from '../../../src/engine/io/atomic-write.js'

const folder = process.argv[2] ?? ''
await writeFolderAtomically(
  folder,
  async (aside) => {
    await writeThrough(path.join(aside, 'x'), 'never seen')
    const rename = fs.rename
    fs.rename = async (from, to) => (from === aside ? void process.kill(process.pid, 'SIGKILL') : rename(from, to))
  },
  { replace: true },
)

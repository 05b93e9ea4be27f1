/**
 * How far a long command is: a bar in a terminal, a line now and then elsewhere.
 */

import cliProgress from 'cli-progress'
import type { ImportProgress } from '../catalog/import/import-progress.js'
import type { PushProgress } from '../catalog/push/push-folder.js'

/** What a command tells of how far it is. */
export type Progress = ImportProgress | PushProgress

const doing: Readonly<Record<Progress['step'], string>> = {
  find: 'Looking for',
  download: 'Downloading',
  copy: 'Copying',
  check: 'Checking',
  measure: 'Measuring',
  register: 'Registering',
  prepare: 'Preparing',
  hash: 'Hashing',
  upload: 'Uploading',
  commit: 'Committing',
}
const MB = 1e6
const LINE_EVERY_PERCENT = 20

export interface ProgressDisplay {
  show(progress: Progress): void
  /** Leaves the screen in order. */
  end(): void
}

export function progressDisplay(stream: NodeJS.WritableStream & { isTTY?: boolean }): ProgressDisplay {
  return stream.isTTY ? bars(stream) : lines(stream)
}

function bars(stream: NodeJS.WritableStream): ProgressDisplay {
  const format = '  {bar} {percentage}% {done} of {total} MB, {what}'
  const bar = new cliProgress.SingleBar(
    { format, stream, hideCursor: true, barsize: 30, etaBuffer: 50 },
    cliProgress.Presets.shades_classic,
  )
  let step: string | undefined
  const end = () => {
    if (bar.isActive) bar.stop()
  }
  return {
    show({ step: name, what, doneBytes, totalBytes }) {
      if (name !== step) {
        end()
        stream.write(`${doing[name]}${totalBytes === 0 ? ` ${what}` : ''} ...\n`)
        step = name
        if (totalBytes > 0) bar.start(totalBytes, 0, { what, done: '0', total: megabytes(totalBytes) })
      }
      if (bar.isActive) {
        bar.setTotal(totalBytes)
        bar.update(doneBytes, { what, done: megabytes(doneBytes), total: megabytes(totalBytes) })
      }
    },
    end,
  }
}

function lines(stream: NodeJS.WritableStream): ProgressDisplay {
  let step: string | undefined
  let said = 0
  return {
    show({ step: name, what, doneBytes, totalBytes }) {
      if (name !== step) {
        stream.write(`${doing[name]}${totalBytes === 0 ? ` ${what}` : ''} ...\n`)
        step = name
        said = 0
      }
      const percent = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes)
      if (percent < said + LINE_EVERY_PERCENT) return
      said = percent - (percent % LINE_EVERY_PERCENT)
      stream.write(`  ${percent}% (${megabytes(doneBytes)} of ${megabytes(totalBytes)} MB), ${what}\n`)
    },
    end() {},
  }
}

const megabytes = (bytes: number) => (bytes / MB).toFixed(bytes < 100 * MB ? 1 : 0)

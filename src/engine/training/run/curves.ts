/**
 * The curves of a run: numbers by step. While the run lasts they grow line by line in `curves.jsonl`, which a kill can only cut short; beside it
 * `curves.json` has them as columns, and `curves.svg` shows them.
 */

import fs, { type FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { writeFileAtomically } from '../../io/atomic-write.js'
import { storageError } from '../../io/storage-errors.js'
import { type CurveColumns, plotCurves } from './plot.js'

/** What was measured at a step (updates done so far). A number that is not finite is written as null. */
export interface CurvePoint {
  readonly step: number
  readonly numbers: Readonly<Record<string, number>>
}

const linesName = 'curves.jsonl'

export class CurveLog {
  readonly #folder: string
  readonly #file: FileHandle
  readonly #points: CurvePoint[]

  private constructor(folder: string, file: FileHandle, points: CurvePoint[]) {
    this.#folder = folder
    this.#file = file
    this.#points = points
  }

  /**
   * Goes on after `step`: what a run that was killed later had written beyond it is dropped.
   * @param step  0: from the start
   */
  static async open(folder: string, step: number): Promise<CurveLog> {
    const file = path.join(folder, linesName)
    const points = (await readPoints(file)).filter((point) => point.step <= step)
    await writeFileAtomically(file, points.map(line).join(''))
    return new CurveLog(folder, await fs.open(file, 'a'), points)
  }

  get points(): readonly CurvePoint[] {
    return this.#points
  }

  /** @throws STORAGE_FULL */
  async append(point: CurvePoint): Promise<void> {
    this.#points.push(point)
    await this.#storing(() => this.#file.appendFile(line(point)))
  }

  /** Flushes the lines and writes columns and plot. @throws STORAGE_FULL */
  async publish(title: string): Promise<void> {
    await this.#storing(() => this.#file.sync())
    const columns = columnsOf(this.#points)
    await writeFileAtomically(path.join(this.#folder, 'curves.json'), `${JSON.stringify(columns)}\n`)
    await writeFileAtomically(path.join(this.#folder, 'curves.svg'), plotCurves(columns, { title }))
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #storing(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      throw storageError(error, path.join(this.#folder, linesName))
    }
  }
}

export function columnsOf(points: readonly CurvePoint[]): CurveColumns {
  const names = [...new Set(points.flatMap(({ numbers }) => Object.keys(numbers)))]
  const column = (name: string) => points.map(({ numbers }) => (Number.isFinite(numbers[name]) ? numbers[name]! : null))
  return { step: points.map(({ step }) => step), ...Object.fromEntries(names.map((name) => [name, column(name)])) }
}

const line = ({ step, numbers }: CurvePoint) => `${JSON.stringify({ step, ...numbers })}\n`

/** The whole lines of the file; the one that a kill cut short is not among them. */
async function readPoints(file: string): Promise<CurvePoint[]> {
  const text = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  return text
    .split('\n')
    .slice(0, -1)
    .map((written) => {
      const { step, ...numbers } = JSON.parse(written) as { step: number } & Record<string, number | null>
      return { step, numbers: Object.fromEntries(Object.entries(numbers).map(([name, number]) => [name, number ?? Number.NaN])) }
    })
}

/** A result as a Markdown table and as JSON under `bench/results`. */

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { deviceUsed } from './backend.js'

export type Row = Readonly<Record<string, string | number>>

export function machine(): string {
  const cpu = os.cpus()[0]?.model ?? 'unknown'
  return `${os.availableParallelism()} cores of ${cpu}, ${Math.round(os.totalmem() / 2 ** 30)} GiB, Node ${process.versions.node}, ${os.type()} ${os.arch()}`
}

export function report(question: string, rows: readonly Row[]): void {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const cell = (value: string | number | undefined) => (typeof value === 'number' ? String(Number(value.toPrecision(4))) : (value ?? ''))
  console.log(`\n### ${question}\n`)
  console.log(`| ${columns.join(' | ')} |\n|${columns.map(() => '---').join('|')}|`)
  for (const row of rows) console.log(`| ${columns.map((column) => cell(row[column])).join(' | ')} |`)
  console.log(`\n${deviceUsed()}; ${machine()}, ${new Date().toISOString().slice(0, 10)}`)
  const folder = path.join(import.meta.dirname, '..', 'results', 'local')
  fs.mkdirSync(folder, { recursive: true })
  const file = `${question.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.json`
  fs.writeFileSync(
    path.join(folder, file),
    `${JSON.stringify({ question, device: deviceUsed(), machine: machine(), date: new Date().toISOString(), rows }, null, 2)}\n`,
  )
}

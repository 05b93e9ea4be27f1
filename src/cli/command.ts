/**
 * A command of the command line, and how its arguments are read: strictly, with the nearest known name for a misspelt one.
 */

import { type ParseArgsConfig, parseArgs } from 'node:util'
import type { Config } from '../config.js'
import { nearest } from '../engine/nearest.js'

export interface Option {
  readonly type: 'string' | 'boolean'
  readonly short?: string
  /** What the value is, in the help: `<slug>`. */
  readonly value?: string
  readonly meaning: string
}

export type Values = Readonly<Record<string, string | boolean | undefined>>

/** What a command may touch. */
export interface CommandContext {
  readonly config: Config
  readonly values: Values
  readonly positionals: readonly string[]
  /** Results. */
  readonly out: NodeJS.WritableStream & { isTTY?: boolean }
  /** Everything said on the way. */
  readonly err: NodeJS.WritableStream & { isTTY?: boolean }
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
}

export interface Command {
  /** One word or two: `models`, `keys create`. */
  readonly name: string
  /** Positional arguments as the help shows them, one string each; in brackets where they may be left out. */
  readonly positionals: readonly string[]
  readonly summary: string
  readonly details?: string
  readonly options: Readonly<Record<string, Option>>
  run(context: CommandContext): Promise<void>
}

/** The command line was not understood. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What was asked for was understood, and did not come about. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
}

/** The command that `argv` begins with, and the rest. @throws UsageError */
export function findCommand(commands: readonly Command[], argv: readonly string[]): { command: Command; rest: readonly string[] } {
  const words = argv.slice(0, 2).filter((word) => !word.startsWith('-'))
  for (const length of [2, 1]) {
    const command = commands.find(({ name }) => words.length >= length && name === words.slice(0, length).join(' '))
    if (command) return { command, rest: argv.slice(length) }
  }
  const names = commands.map(({ name }) => name)
  const first = words[0] ?? argv[0] ?? ''
  const group = names.filter((name) => name.startsWith(`${first} `))
  if (group.length > 0) throw new UsageError(`"${first}" needs one more word: ${group.join(', ')}.`)
  throw new UsageError(`There is no command "${first}".${didYouMean(words.join(' '), names) || didYouMean(first, names)}`)
}

/** @throws UsageError for unknown options, missing values, too many or too few arguments */
export function readArguments(command: Command, argv: readonly string[]): { values: Values; positionals: readonly string[] } {
  const options: NonNullable<ParseArgsConfig['options']> = Object.fromEntries(
    Object.entries(command.options).map(([name, { type, short }]) => [name, { type, ...(short !== undefined && { short }) }]),
  )
  const { values, positionals, tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true })
  const known = Object.keys(command.options).map((name) => `--${name}`)
  const problems: string[] = []
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    const option = command.options[token.name]
    if (option === undefined) problems.push(`There is no option ${token.rawName}.${didYouMean(token.rawName, known)}`)
    else if (option.type === 'string' && (token.value === undefined || (!token.inlineValue && token.value.startsWith('-')))) {
      problems.push(`${token.rawName} needs a value: ${token.rawName} ${option.value ?? '<value>'}.`)
    } else if (option.type === 'boolean' && token.value !== undefined) problems.push(`${token.rawName} takes no value.`)
  }
  const required = command.positionals.filter((name) => !name.startsWith('['))
  if (positionals.length < required.length) problems.push(`${command.name} needs ${required.slice(positionals.length).join(' ')}.`)
  const surplus = positionals.slice(command.positionals.length)
  if (surplus.length > 0) problems.push(`${command.name} takes no argument "${surplus[0]}".`)
  if (problems.length > 0) throw new UsageError(`${problems.join('\n')}\nUsage: ${usageOf(command)}`)
  return { values: values as Values, positionals }
}

function didYouMean(given: string, known: readonly string[]): string {
  const [near] = nearest(given, known)
  return near === undefined ? '' : ` Did you mean "${near}"?`
}

export function usageOf({ name, positionals, options }: Command): string {
  return ['refract', name, ...positionals, ...(Object.keys(options).length > 0 ? ['[options]'] : [])].join(' ')
}

export function helpOf(command: Command): string {
  const rows = Object.entries(command.options).map(([name, { short, value, meaning }]) => ({
    flag: `${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`,
    meaning,
  }))
  const width = Math.max(0, ...rows.map(({ flag }) => flag.length))
  return [
    `Usage: ${usageOf(command)}`,
    '',
    command.summary,
    ...(command.details ? ['', command.details] : []),
    ...(rows.length > 0 ? ['', ...rows.map(({ flag, meaning }) => `  ${flag.padEnd(width)}  ${meaning}`)] : []),
    '',
  ].join('\n')
}

export function overview(commands: readonly Command[]): string {
  const rows = commands.map((command) => [[command.name, ...command.positionals].join(' '), command.summary] as const)
  const width = Math.max(...rows.map(([usage]) => usage.length))
  return [
    'Usage: refract <command>     (npm run refract -- <command>)',
    '',
    ...rows.map(([usage, summary]) => `  ${usage.padEnd(width)}  ${summary}`),
    '',
    'refract <command> --help tells more. Settings are environment variables: docs/configuration.md.',
    '',
  ].join('\n')
}

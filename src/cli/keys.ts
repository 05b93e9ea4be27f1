/** `refract keys create | list | revoke`. */

import { type ApiKeyScope, apiKeyScopes, type Catalog } from '../catalog/catalog.js'
import { type Command, type CommandContext, UsageError } from './command.js'
import { openDatabase } from './database.js'
import { table } from './table.js'

const DEFAULT_SCOPES = 'read,run'

async function withKeys({ config, err }: CommandContext, body: (keys: Catalog['apiKeys']) => Promise<void>): Promise<void> {
  const database = await openDatabase(config, (message) => err.write(`${message}\n`))
  try {
    await body(database.catalog.apiKeys)
  } finally {
    await database.close()
  }
}

const createCommand: Command = {
  name: 'keys create',
  positionals: [],
  summary: 'Make an API key. From then on every call needs one.',
  options: {
    label: { type: 'string', value: '<text>', meaning: 'what the key is for' },
    scopes: {
      type: 'string',
      value: '<list>',
      meaning: `what it may do, separated by commas: ${apiKeyScopes.join(', ')}; default: ${DEFAULT_SCOPES}`,
    },
  },
  async run(context) {
    const { values, out, err } = context
    const scopes = readScopes(String(values.scopes ?? DEFAULT_SCOPES))
    const label = String(values.label ?? '').replaceAll('\0', '')
    await withKeys(context, async (keys) => {
      const { key, prefix } = await keys.create({ label, scopes })
      err.write(`Key ${prefix} may: ${scopes.join(', ')}. It is shown only now; send it as "Authorization: Bearer <key>".\n`)
      out.write(`${key}\n`)
    })
  },
}

/** @throws UsageError */
function readScopes(text: string): ApiKeyScope[] {
  const given = text.split(',').map((scope) => scope.trim())
  const isScope = (scope: string): scope is ApiKeyScope => apiKeyScopes.some((known) => known === scope)
  const unknown = given.filter((scope) => !isScope(scope))
  if (unknown.length > 0) {
    throw new UsageError(`There is no scope ${unknown.map((scope) => `"${scope}"`).join(', ')}. Scopes are ${apiKeyScopes.join(', ')}.`)
  }
  return given.filter(isScope)
}

const listCommand: Command = {
  name: 'keys list',
  positionals: [],
  summary: 'List the API keys. What they are is not stored and cannot be shown.',
  options: {},
  async run(context) {
    await withKeys(context, async (keys) => {
      const day = (date: Date | null) => date?.toISOString().slice(0, 16).replace('T', ' ') ?? ''
      const rows = (await keys.list()).map(({ prefix, label, scopes, createdAt, lastUsedAt, revokedAt }) => [
        prefix,
        label,
        scopes.join(','),
        day(createdAt),
        day(lastUsedAt),
        day(revokedAt),
      ])
      context.out.write(rows.length === 0 ? 'There is no key.\n' : table(['key', 'label', 'scopes', 'made', 'last used', 'revoked'], rows))
    })
  },
}

const revokeCommand: Command = {
  name: 'keys revoke',
  positionals: ['<key prefix>'],
  summary: 'Revoke an API key, at once and for ever.',
  options: {},
  async run(context) {
    const [prefix = ''] = context.positionals
    await withKeys(context, async (keys) => {
      if (!(await keys.revoke(prefix))) throw new UsageError(`There is no active key "${prefix}". refract keys list shows their prefixes.`)
      context.out.write(`Revoked ${prefix}.\n`)
    })
  },
}

export const keyCommands = [createCommand, listCommand, revokeCommand]

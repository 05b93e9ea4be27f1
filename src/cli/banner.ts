/**
 * What `npm start` shows once it serves: on one screen, what runs where and what to open.
 */

import type { AddressInfo } from 'node:net'
import type { Config } from '../config.js'

export interface Running {
  readonly version: string
  readonly address: Pick<AddressInfo, 'address' | 'port' | 'family'>
  readonly backend: string
  readonly device: string
  readonly database: string
  readonly config: Pick<Config, 'dataDir' | 'memoryMb' | 'host'>
  readonly models: { readonly ids: readonly string[]; readonly totalCount: number }
  readonly nActiveKeys: number
  readonly startedMs: number
}

const MAX_MODELS = 4

export function banner({ version, address, backend, device, database, config, models, nActiveKeys, startedMs }: Running): string {
  const url = urlOf(address)
  const more = models.totalCount > MAX_MODELS ? ` and ${models.totalCount - MAX_MODELS} more` : ''
  const listed =
    models.totalCount === 0 ? 'none yet; npm run refract -- import <folder | hub repo>' : models.ids.slice(0, MAX_MODELS).join(', ') + more
  const rows: [string, string][] = [
    ['Device', `${device} (${backend})`],
    ['Memory', `${config.memoryMb} MB for models, programs and caches`],
    ['Database', database],
    ['Data', config.dataDir],
    ['Models', listed],
    ['Access', nActiveKeys > 0 ? `API key needed (${nActiveKeys} active)` : 'everyone on this machine, no key needed'],
  ]
  const pages: [string, string][] = [
    ['REST', `${url}/docs`],
    ['GraphQL', `${url}/graphiql`],
    ['Endpoint', `${url}/graphql`],
    ['OpenAPI', `${url}/openapi.json`],
  ]
  const lines = (entries: readonly [string, string][]) => entries.map(([name, value]) => `  ${name.padEnd(9)} ${value}`)
  const key = nActiveKeys > 0 ? " -H 'x-api-key: <key>'" : ''
  return [
    '',
    `  Refract ${version} is ready at ${url}   (${(startedMs / 1000).toFixed(1)} s)`,
    '',
    ...lines(rows),
    '',
    ...lines(pages),
    '',
    `  Try       curl${key} ${url}/v1/models`,
    `            curl${key} ${url}/v1/images -H 'content-type: application/octet-stream' --data-binary @picture.png`,
    '',
    '  Ctrl-C stops everything.',
    '',
    '',
  ].join('\n')
}

/** Where a browser on this machine finds it: an address that stands for all of them is not one to open. */
export function urlOf({ address, port, family }: Running['address']): string {
  const host = address === '0.0.0.0' || address === '::' ? 'localhost' : family === 'IPv6' ? `[${address}]` : address
  return `http://${host}:${port}`
}

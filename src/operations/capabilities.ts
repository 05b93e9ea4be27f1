/**
 * What this server is and can do: version, device, what is in memory, budgets, limits.
 */

import { readFileSync } from 'node:fs'
import { Type } from 'typebox'
import type { DeviceStatus, LoadedWeights } from '../engine/host/host.js'
import { limitsOf } from './limits.js'
import { defineOperation } from './operation.js'

/** From package.json, which lies two folders up both from src/ and from dist/. */
export const version: string = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version

const Bytes = Type.Integer({ format: 'int64' })

const Memory = Type.Object({ budgetBytes: Bytes, usedBytes: Bytes }, { title: 'Memory', additionalProperties: false })

const LoadedModels = Type.Array(
  Type.Object(
    {
      id: Type.String(),
      weightsSha256: Type.String({ description: 'The first 16 digits.' }),
      bytes: Bytes,
      inUse: Type.Boolean(),
    },
    { title: 'LoadedModel', additionalProperties: false },
  ),
  { description: 'Models whose weights are in memory.' },
)

const LoadedSaes = Type.Array(
  Type.Object(
    { id: Type.String(), weightsSha256: Type.String({ description: 'The first 16 digits.' }), bytes: Bytes, inUse: Type.Boolean() },
    { title: 'LoadedSae', additionalProperties: false },
  ),
  { description: 'SAEs whose weights are in memory.' },
)

const DeviceMemory = Type.Object(
  {
    budgetBytes: Bytes,
    usedBytes: Bytes,
    nPagedOut: Type.Integer({ description: 'How often weights had to leave for others, since its engine started.' }),
  },
  { title: 'DeviceMemory', additionalProperties: false },
)

const DeviceShape = Type.Object(
  {
    device: Type.String(),
    backend: Type.String(),
    state: Type.String({ description: '`ready` when it takes work.' }),
    queueLength: Type.Integer(),
    queueLimit: Type.Integer(),
    restarts: Type.Integer(),
    memory: Memory,
    deviceMemory: Type.Union([DeviceMemory, Type.Null()], {
      description: "What weights take of an accelerator's own memory, as of its last answer; null where they are in the server's.",
    }),
    models: LoadedModels,
    saes: LoadedSaes,
  },
  { title: 'Device', additionalProperties: false },
)

export const capabilities = defineOperation({
  name: 'capabilities',
  kind: 'query',
  scope: 'read',
  summary: 'Version, runtime and device, what is loaded, budgets and limits',
  input: Type.Object({}, { title: 'CapabilitiesInput', additionalProperties: false }),
  output: Type.Object(
    {
      version: Type.String(),
      runtime: Type.String({ description: 'Of the server, such as `node 20.20.2 on linux-x64`.' }),
      engine: Type.Object(
        {
          state: Type.String({ description: '`ready` when it takes work.' }),
          backend: Type.String(),
          device: Type.String(),
          precision: Type.String({ description: 'What the devices compute in: `float32`, `tf32` or `float16` (`REFRACT_PRECISION`).' }),
          passedOver: Type.Array(
            Type.Object({ device: Type.String(), why: Type.String() }, { title: 'PassedOverDevice', additionalProperties: false }),
            { description: 'Devices that `REFRACT_DEVICE=auto` would have taken rather, and why it did not.' },
          ),
          queueLength: Type.Integer(),
          queueLimit: Type.Integer(),
          restarts: Type.Integer({ description: 'How often the engine died and was started again.' }),
        },
        { title: 'Engine', additionalProperties: false },
      ),
      devices: Type.Array(DeviceShape, {
        description:
          'As `REFRACT_DEVICE` lists them. What stands beside is of all together; a model or an SAE that several hold is there once.',
      }),
      memory: Memory,
      models: LoadedModels,
      saes: LoadedSaes,
      programs: Type.Object(
        {
          count: Type.Integer(),
          bytes: Bytes,
          compiled: Type.Integer({ description: 'Since the start.' }),
          hits: Type.Integer({ description: 'Runs that found their program compiled.' }),
        },
        {
          title: 'Programs',
          additionalProperties: false,
          description: 'Compiled structures: one for each combination of reads and edits.',
        },
      ),
      limits: Type.Array(
        Type.Object({ name: Type.String(), value: Type.Integer({ format: 'int64' }) }, { title: 'Limit', additionalProperties: false }),
        { description: 'By the names that refusals use. `requestsPerMinute` 0: no limit.' },
      ),
    },
    { title: 'Capabilities', additionalProperties: false },
  ),

  async run({ host, config }) {
    const status = host.status()
    const { state, backend, device, passedOver, queueLength, queueLimit, restarts, memory, models, saes, programs } = status
    return {
      version,
      runtime: `node ${process.versions.node} on ${process.platform}-${process.arch}`,
      engine: { state, backend, device, precision: config.precision, passedOver: [...passedOver], queueLength, queueLimit, restarts },
      devices: status.devices.map(ofDevice),
      memory: { budgetBytes: memory.budgetBytes, usedBytes: memory.usedBytes },
      models: models.map(loaded),
      saes: saes.map(loaded),
      programs: { count: programs.count, bytes: programs.bytes, compiled: programs.compiled, hits: programs.hits },
      limits: Object.entries(limitsOf(config)).map(([name, value]) => ({ name, value })),
    }
  },
})

function ofDevice({ device, backend, state, queueLength, queueLimit, restarts, memory, deviceMemory, models, saes }: DeviceStatus) {
  const own = { device, backend, state, queueLength, queueLimit, restarts, memory, deviceMemory: deviceMemory ?? null }
  return { ...own, models: models.map(loaded), saes: saes.map(loaded) }
}

/** The key of a model or an SAE is `id@sha256`. */
function loaded({ key, bytes, inUse }: LoadedWeights) {
  const at = key.lastIndexOf('@')
  return { id: key.slice(0, at), weightsSha256: key.slice(at + 1), bytes, inUse }
}

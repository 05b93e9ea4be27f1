/** What all devices come to together. */

import type { DeviceStatus, HostStatus, LoadedWeights } from './host.js'
import { type MemoryBudget, residentKinds } from './memory-budget.js'

interface Parts extends Pick<HostStatus, 'passedOver' | 'pictures' | 'caches'> {
  readonly devices: readonly DeviceStatus[]
  /** Each once. */
  readonly budgets: readonly MemoryBudget[]
}

/** The best state of a device is that of the whole. */
const states: readonly HostStatus['state'][] = ['ready', 'starting', 'restarting', 'unhealthy', 'closed']

export function hostStatus({ devices, budgets, ...rest }: Parts): HostStatus {
  const sum = <T>(of: readonly T[], amount: (each: T) => number) => of.reduce((total, each) => total + amount(each), 0)
  const total = (amount: (device: DeviceStatus) => number) => sum(devices, amount)
  return {
    ...rest,
    devices,
    state: states.find((state) => devices.some((device) => device.state === state))!,
    backend: [...new Set(devices.map(({ backend }) => backend))].join(', '),
    device: devices.map(({ device }) => device).join(', '),
    queueLength: total(({ queueLength }) => queueLength),
    queueLimit: total(({ queueLimit }) => queueLimit),
    restarts: total(({ restarts }) => restarts),
    memory: {
      budgetBytes: sum(budgets, ({ budgetBytes }) => budgetBytes),
      usedBytes: sum(budgets, ({ usedBytes }) => usedBytes),
      byKind: Object.fromEntries(
        residentKinds.map((kind) => [kind, sum(budgets, (budget) => budget.bytesOf(kind))]),
      ) as HostStatus['memory']['byKind'],
    },
    models: together(devices.flatMap(({ models }) => models)),
    saes: together(devices.flatMap(({ saes }) => saes)),
    programs: {
      count: total(({ programs }) => programs.count),
      bytes: total(({ programs }) => programs.bytes),
      compiled: total(({ programs }) => programs.compiled),
      hits: total(({ programs }) => programs.hits),
    },
    runs: {
      count: total(({ runs }) => runs.count),
      requests: total(({ runs }) => runs.requests),
      rows: total(({ runs }) => runs.rows),
    },
  }
}

function together(weights: readonly LoadedWeights[]): readonly LoadedWeights[] {
  const byKey = new Map<string, LoadedWeights>()
  for (const { key, bytes, inUse } of weights) {
    const other = byKey.get(key)
    byKey.set(key, { key, bytes: bytes + (other?.bytes ?? 0), inUse: inUse || other?.inUse === true })
  }
  return [...byKey.values()]
}

/** What the benchmarks read of a server's `/metrics`. */

import type { Client } from './client.js'

export interface ServerMetrics {
  /** Runs of the device since the start. */
  readonly runs: number
  /** 99th percentile since the metrics were read before, as Node measures it: the time between two turns of a 10 ms timer, less its 10 ms. */
  readonly eventLoopDelayMs: number
}

const TIMER_MS = 10

export async function metricsOf(client: Client): Promise<ServerMetrics> {
  const { body } = await client.get('/metrics')
  const text = body.toString()
  const value = (name: string) => {
    const [, number] = new RegExp(`^${name} (\\S+)$`, 'm').exec(text) ?? []
    if (number === undefined) throw new Error(`/metrics has no ${name}`)
    return Number(number)
  }
  return {
    runs: value('refract_runs_total'),
    eventLoopDelayMs: Math.max(0, 1000 * value('nodejs_eventloop_lag_p99_seconds') - TIMER_MS),
  }
}

/**
 * The subscription to a job: what `GET /v1/jobs/{id}/events` streams.
 */

import { jobEvents } from '../operations/job.js'
import { JobEventShape } from '../operations/schemas/job.js'
import type { Builder } from './builder.js'
import type { Source, TypesFromSchemas } from './from-schema.js'
import type { GraphqlContext } from './types.js'

export function jobEventsField(builder: Builder, types: TypesFromSchemas): void {
  builder.subscriptionField('jobEvents', (t) =>
    t.field({
      type: types.output(JobEventShape) as never,
      description: 'A job as it changes, and new lines of its log, until it is over.',
      args: {
        id: t.arg.string({ required: true }),
        after: t.arg.int({ description: 'Lines of the log after the one with this number.' }),
      },
      subscribe: ((_parent: unknown, { id, after }: { id: string; after?: number | null }, { context, call }: GraphqlContext) =>
        stoppable((signal) =>
          jobEvents(context, { id, after: Math.max(0, after ?? 0) }, { signal: AbortSignal.any([signal, call.signal]) }),
        )) as never,
      resolve: ((event: Source) => event) as never,
    }),
  )
}

/** A generator that waits for something does not hear `return` before it has happened; this one's signal does. */
function stoppable<T>(make: (signal: AbortSignal) => AsyncGenerator<T>): AsyncIterableIterator<T> {
  const stop = new AbortController()
  const events = make(stop.signal)
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    next: () => events.next(),
    async return() {
      stop.abort()
      return events.return(undefined)
    },
  }
}

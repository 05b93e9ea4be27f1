/** One question that can be asked of a model: what it takes, what it costs, how it is answered. A technique a file; `analyses.ts` lists them. */

import type { Workbench } from './workbench.js'

/** What answering takes in memory, beside weights and programs. */
export interface AnalysisCost {
  /** Inputs that run through the model at once, at most. */
  readonly rows: number
  /** Whether gradients are taken: then every value of a run is kept. */
  readonly gradients?: boolean
  /** Values as large as the residual stream that are held of every block: of all inputs that they are of, together. */
  readonly kept?: number
  /** Bytes of the answer and of whatever else is held. */
  readonly bytes: number
}

/**
 * `Input` and `Output` are plain data that can be sent to another thread: numbers, strings, tensors, arrays and records of them.
 */
export interface Analysis<Input, Output> {
  /** Known before anything is computed. */
  cost(input: Input): AnalysisCost
  /** @throws EngineErrors of what it was given, with paths as the input has them */
  run(bench: Workbench, input: Input): Promise<Output>
}

import type * as Ort from 'onnxruntime-node'
import type { Graph } from '../../graph/graph.js'
import type { ResidentWeights } from '../backend.js'

/** Weights as this backend keeps them, wherever that is: to be fed by name to a session. */
export interface FeedableWeights extends ResidentWeights {
  /** One of them as it is fed now. */
  feed(name: string): Ort.Tensor | undefined
  /** The tensors of the graph's parameters, checked against them. @throws FEED_MISSING, SHAPE_MISMATCH, INPUT_INVALID */
  feeds(graph: Graph): Readonly<Record<string, Ort.Tensor>>
  /**
   * Takes what a run made as its own: at once where the weights are in this process' memory. Of a tensor that does not fit its weight, none is
   * taken. @throws INPUT_INVALID, SHAPE_MISMATCH
   */
  write(values: Readonly<Record<string, Ort.Tensor>>): void | Promise<void>
  /** Says that a run reads these weights, and brings them where it reads them from, until what is returned is called. */
  hold(names: readonly string[]): (() => void) | Promise<() => void>
  /** Whether a run made what one of them is now. */
  isMade(name: string): boolean
  /** Whether a run that holds them may write to the array of one: nobody was given it, uploaded it or reads it in another run. */
  isWritable(name: string): boolean
}

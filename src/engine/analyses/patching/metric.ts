/**
 * What a patched run is judged by: one number for each run, of the model's output. The same nodes in a graph of its own (patching) and at the
 * end of a tower (where gradients are taken of it).
 */

import { GraphBuilder } from '../../graph/builder.js'
import { sumOver } from '../../graph/expressions.js'
import type { Graph } from '../../graph/graph.js'
import type { ModelDescription } from '../../models/model.js'
import { float32, int64, type Tensor } from '../../tensor.js'
import { directionsInput, directionsOf, scores, scoringOf, type Target } from '../targets.js'

/** `score`: the score of a target: a logit, or the difference of two. */
export type Metric =
  | { readonly kind: 'score'; readonly target: Target }
  /** Of one among the possible answers: a classifier's classes, else `among`. */
  | { readonly kind: 'probability'; readonly among?: readonly Target[]; readonly answer: number }
  /** KL(clean || run) in nats, over the possible answers. */
  | { readonly kind: 'kl'; readonly among?: readonly Target[] }
  /** Of the output with the clean run's. */
  | { readonly kind: 'cosine' }

export const metricNames = { output: 'metric.output', clean: 'metric.clean', cleanRows: 'metric.cleanRows', value: 'metric' } as const
const answerInput = 'metric.answer'

/** What the metric's graph depends on. */
export function metricForm(metric: Metric): string {
  return metric.kind === 'score' || metric.kind === 'cosine' ? metric.kind : `${metric.kind} ${metric.among ? 'among' : 'classes'}`
}

/** Whether runs are compared with the clean one: then `metricNames.clean` takes its output, `[pairs, dOut]`, and `cleanRows` the pair of each run. */
export const comparesWithClean = ({ kind }: Metric) => kind === 'kl' || kind === 'cosine'

/** Feeds that are the same for every run. */
export function metricFeeds(metric: Metric): Record<string, Tensor> {
  switch (metric.kind) {
    case 'score':
      return { [directionsInput]: directionsOf([metric.target]) }
    case 'probability':
      return { ...ofAnswers(metric.among), [answerInput]: int64([1], [metric.answer]) }
    case 'kl':
      return ofAnswers(metric.among)
    case 'cosine':
      return {}
    default:
      return metric satisfies never
  }
}

const ofAnswers = (among: readonly Target[] | undefined): Record<string, Tensor> =>
  among ? { [directionsInput]: directionsOf(among) } : {}

/** Feeds of runs that are compared with a clean one. @param output  of the clean runs @param rows  for each run, its clean one */
export function cleanFeeds(metric: Metric, output: Tensor<'float32'>, rows: readonly number[]): Record<string, Tensor> {
  return comparesWithClean(metric) ? { [metricNames.clean]: output, [metricNames.cleanRows]: int64([rows.length], rows) } : {}
}

/** Input `metricNames.output` `[batch, dOut]` and what `metricFeeds` and `cleanFeeds` give; output `metricNames.value` `[batch]`. */
export function metricGraph(metric: Metric, description: ModelDescription): Graph {
  const b = new GraphBuilder('metric')
  const output = b.input(metricNames.output, 'float32', ['batch', dOutOf(description)])
  return b.build([b.named(metricNames.value, metricValue(b, output, { metric, description }))])
}

/** @param output  `[batch, dOut]`; the value is `[batch]` */
export function metricValue(
  b: GraphBuilder,
  output: string,
  { metric, description }: { readonly metric: Metric; readonly description: ModelDescription },
): string {
  const dOut = dOutOf(description)
  const perRun = (column: string) => b.op('Reshape', [column, b.constant(int64([1], [-1]))])
  const clean = () => b.op('Gather', [b.input(metricNames.clean, 'float32', ['pairs', dOut]), cleanRows(b)], { axis: 0 })
  switch (metric.kind) {
    case 'score':
      return perRun(scores(b, output, { dOut, scoring: scoringOf(description) }))
    case 'probability': {
      const chances = b.op('Softmax', [answers(b, output, { metric, description })], { axis: -1 })
      return perRun(b.op('Gather', [chances, b.input(answerInput, 'int64', [1])], { axis: 1 }))
    }
    case 'kl': {
      const [of, from] = [clean(), output].map((each) => answers(b, each, { metric, description })) as [string, string]
      const difference = b.op('Sub', [logarithms(b, of), logarithms(b, from)])
      return perRun(sumOver(b, b.op('Mul', [b.op('Softmax', [of], { axis: -1 }), difference]), 1))
    }
    case 'cosine': {
      const other = clean()
      const product = sumOver(b, b.op('Mul', [output, other]), 1)
      return perRun(b.op('Div', [product, b.op('Mul', [norm(b, output), norm(b, other)])]))
    }
    default:
      return metric satisfies never
  }
}

const cleanRows = (b: GraphBuilder) => b.input(metricNames.cleanRows, 'int64', ['batch'])

/** Length of the output: of a model that pools, its only axis after the batch. */
export const dOutOf = ({ vision }: ModelDescription) => vision.output.shape[1] as number

/** Logits of the possible answers, `[batch, nAnswers]`. */
function answers(
  b: GraphBuilder,
  output: string,
  { metric, description }: { metric: Extract<Metric, { kind: 'probability' | 'kl' }>; description: ModelDescription },
): string {
  return metric.among ? scores(b, output, { dOut: dOutOf(description), scoring: scoringOf(description) }) : output
}

/** Logarithms of the softmax, for any logits. */
function logarithms(b: GraphBuilder, logits: string): string {
  const axis = b.constant(int64([1], [1]))
  const shifted = b.op('Sub', [logits, b.op('ReduceMax', [logits, axis], { keepdims: 1 })])
  return b.op('Sub', [shifted, b.op('Log', [sumOver(b, b.op('Exp', [shifted]), 1)])])
}

/** Length of each row, above 0. */
function norm(b: GraphBuilder, rows: string): string {
  const length = b.op('Sqrt', [sumOver(b, b.op('Mul', [rows, rows]), 1)])
  return b.op('Max', [length, b.constant(float32([], [1e-12]))])
}

/** Judges runs by the metric; outputs that were computed for something else are not computed again. */

import { EngineError } from '../../errors.js'
import { narrowed } from '../../graph/narrow.js'
import type { Tensor } from '../../tensor.js'
import type { Workbench } from '../workbench.js'
import { cleanFeeds, comparesWithClean, type Metric, metricFeeds, metricForm, metricGraph, metricNames } from './metric.js'
import { type Material, type Pairs, runPictures } from './trials.js'

export interface Judge {
  /** The metric of towers' outputs, `[row]`. @param pairs  of each row */
  of(output: Tensor<'float32'>, pairs: readonly number[]): Promise<Tensor<'float32'>>
  /** Feeds of a graph that has the metric in it. */
  feeds(pairs: readonly number[]): Promise<Record<string, Tensor>>
  /** Of each pair's run; undefined of corrupted runs where there are none. */
  ofRuns(which: 'clean' | 'corrupted'): Promise<Tensor<'float32'> | undefined>
  /** Of the runs that are patched. */
  ofBase(): Promise<Tensor<'float32'>>
  /** The output of pictures that were run. */
  knows(pixels: Tensor<'float32'> | undefined, output: Tensor<'float32'>): void
  /** The metric of the runs that are patched. */
  knowsBase(values: Float32Array): void
}

export interface Judging extends Pairs {
  readonly metric: Metric
}

/** @throws INPUT_INVALID of a model whose output is no one vector */
export function openJudge(bench: Workbench, input: Judging, { base }: Material): Judge {
  const { model } = bench
  const { metric } = input
  if (model.description.vision.output.axes.length !== 2) {
    const problem = `${model.key} does not pool its tokens: its output has a row for each position, and no one score`
    throw new EngineError('INPUT_INVALID', { path: 'model', problem }, [{ path: 'model', message: problem }])
  }
  const outputs = new Map<Tensor<'float32'>, Tensor<'float32'>>()
  let ofBase: Tensor<'float32'> | undefined
  const outputOf = async (pixels: Tensor<'float32'>) => {
    const known = outputs.get(pixels)
    if (known) return known
    const graph = () => narrowed(model.build(new Set()).graph)
    const [output] = Object.values(await runPictures(await bench.ready('patching plain', graph), pixels)) as [Tensor<'float32'>]
    outputs.set(pixels, output)
    return output
  }
  const feeds = async (pairs: readonly number[]) => ({
    ...metricFeeds(metric),
    ...(comparesWithClean(metric) && cleanFeeds(metric, await outputOf(input.clean), pairs)),
  })
  const of = async (output: Tensor<'float32'>, pairs: readonly number[]) => {
    const program = await bench.ready(`patching metric ${metricForm(metric)}`, () => metricGraph(metric, model.description))
    return (await program.run({ [metricNames.output]: output, ...(await feeds(pairs)) }))[metricNames.value]!
  }
  const everyPair = Array.from({ length: input.clean.shape[0]! }, (_, pair) => pair)
  const ofRuns = async (which: 'clean' | 'corrupted') => {
    const pixels = input[which]
    if (!pixels) return undefined
    if (pixels !== base) return of(await outputOf(pixels), everyPair)
    ofBase ??= await of(await outputOf(pixels), everyPair)
    return ofBase
  }
  return {
    of,
    feeds,
    ofRuns,
    ofBase: async () => (await ofRuns(input.direction === 'denoise' ? 'corrupted' : 'clean'))!,
    knows(pixels, output) {
      if (pixels) outputs.set(pixels, output)
    },
    knowsBase(values) {
      ofBase ??= { dtype: 'float32', shape: [values.length], data: values }
    },
  }
}

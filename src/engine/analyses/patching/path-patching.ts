/**
 * Path patching: what one component says to another, and to no one else. The sender writes what it writes in the other run; between it and the
 * receiver every component keeps what it wrote in the run that is patched, but for those that the path may lead through. What the receiver then
 * reads is put into the run, which goes on from there as it does.
 * Wang et al. (2022), "Interpretability in the Wild"; Goldowsky-Dill et al. (2023), "Localizing Model Behavior with Path Patching".
 */

import { EngineError } from '../../errors.js'
import { expose, replaceEach } from '../../graph/edit.js'
import type { Graph } from '../../graph/graph.js'
import { prune } from '../../graph/prune.js'
import { nPositions } from '../../hook-points.js'
import type { BuiltTower } from '../../interventions/built-towers.js'
import type { HookPointInfo, VisionConfig } from '../../models/model.js'
import { elementCount, int64, type Tensor, tensor } from '../../tensor.js'
import type { Analysis } from '../analysis.js'
import { type Inputs, MOST_ROWS, type Outputs, sharedPrefix } from '../shared-prefix.js'
import type { Workbench } from '../workbench.js'
import { checkEnds, type Ends, type HeadInput, nameOf, type Reader, type Writer } from './components.js'
import { outOfRange } from './grid.js'
import { type Judging, openJudge } from './judge.js'
import { lengthsOf, maskInput, maskShape, otherInput, otherRowsInput, patchedTower } from './patched-tower.js'
import { materialOf, meansOver, runPictures, type Trial } from './trials.js'

export interface PathPatchingInput extends Judging, Ends {
  /** Where senders write what they write in the other run; everywhere unless given. */
  readonly positions?: readonly number[]
}

export interface PathPatchingOutput {
  readonly senders: readonly string[]
  readonly receivers: readonly string[]
  /** The metric of each pair's runs, `[pair]`. */
  readonly clean: Tensor<'float32'>
  readonly corrupted?: Tensor<'float32'>
  /** The metric with the path patched, `[pair, sender, receiver]`. */
  readonly values: Tensor<'float32'>
}

/** What each block writes: heads, an MLP. There twice while portions are put together. */
const KEPT = 2 * 2

export const pathPatching: Analysis<PathPatchingInput, PathPatchingOutput> = {
  cost({ clean, corrupted, source, senders, receivers }) {
    const set = source.kind === 'other' ? undefined : source.pixels
    const nPairs = clean.shape[0]!
    const pictures = nPairs + (corrupted?.shape[0] ?? 0) + (set?.shape[0] ?? 0)
    const pixels = clean.data.byteLength + (corrupted?.data.byteLength ?? 0) + (set?.data.byteLength ?? 0)
    const nTrials = nPairs * (source.kind === 'resample' ? source.draws : 1)
    // What comes before the senders is run of all pairs at once.
    const rows = Math.max(nPairs, Math.min(MOST_ROWS, senders.length * nTrials))
    return { rows, kept: KEPT * pictures, bytes: pixels + 4 * nPairs * senders.length * receivers.length }
  },

  async run(bench, input) {
    const { config } = bench.model
    checkEnds(input, config)
    checkPositions(input, config)
    const material = materialOf(input)
    const judge = openJudge(bench, input, material)
    const built = () => bench.model.build(new Set<string>())
    const output = built().graph.outputs[0]!
    const writing = writingHookPoints(config)

    const reading = await bench.ready('paths read', () => expose(built().graph, writing))
    const own = await runPictures(reading, material.base)
    judge.knows(material.base, own[output]!)
    const others =
      input.source.kind === 'mean' ? await meansOver(reading, input.source.pixels) : await runPictures(reading, material.others!)
    judge.knows(material.others, others[output]!)

    const rows = input.senders.flatMap((sender) => material.trials.map((trial) => ({ sender, trial })))
    const read = [...new Set(input.receivers.flatMap(readByReceiver))]
    const direct = await sharedPrefix(bench, `paths ${read.join(' ')}`, () => frozenTower(built(), { writing, read }))
    const begun = await direct.begin({ pixels: material.base })
    const table = new Float32Array(input.clean.shape[0]! * input.senders.length * input.receivers.length)
    const nDraws = material.trials.length / input.clean.shape[0]!
    for (let from = 0; from < rows.length; from += MOST_ROWS) {
      const chunk = rows.slice(from, from + MOST_ROWS)
      const pairs = chunk.map(({ trial }) => trial.pair)
      const { perRow, whole } = frozenFeeds(chunk, { bench, writing, own, others, ...input })
      const heard = await begun.run(pairs, perRow, whole)
      for (const [column, receiver] of input.receivers.entries()) {
        const made =
          receiver.kind === 'output' ? heard[output]! : await goOn(bench, receiver, { heard, pairs, pixels: material.base, built })
        const { data } = await judge.of(made, pairs)
        for (const [at, { sender, trial }] of chunk.entries()) {
          const cell = (trial.pair * input.senders.length + input.senders.indexOf(sender)) * input.receivers.length + column
          table[cell] = table[cell]! + data[at]! / nDraws
        }
      }
    }
    const corrupted = await judge.ofRuns('corrupted')
    return {
      senders: input.senders.map(nameOf),
      receivers: input.receivers.map(nameOf),
      clean: (await judge.ofRuns('clean'))!,
      ...(corrupted && { corrupted }),
      values: { dtype: 'float32', shape: [input.clean.shape[0]!, input.senders.length, input.receivers.length], data: table },
    }
  },
}

const embed = 'blocks.0.hook_resid_pre'
const zOf = (layer: number) => `blocks.${layer}.attn.hook_z`
const mlpOf = (layer: number) => `blocks.${layer}.hook_mlp_out`

/** Where components write. */
function writingHookPoints({ nLayers, dMlp }: VisionConfig): string[] {
  const layers = Array.from({ length: nLayers }, (_, layer) => layer)
  return [embed, ...layers.flatMap((layer) => [zOf(layer), ...(dMlp === undefined ? [] : [mlpOf(layer)])])]
}

const headInput = (layer: number, input: HeadInput) => `blocks.${layer}.attn.hook_${input}`

/** What stands for what a receiver reads: a head's queries, keys and values; what an MLP makes of its input. */
function readByReceiver(receiver: Reader): string[] {
  if (receiver.kind === 'output') return []
  return receiver.kind === 'mlp' ? [mlpOf(receiver.layer)] : receiver.inputs.map((input) => headInput(receiver.layer, input))
}

const sentInput = (hookPoint: string) => `path/sent/${hookPoint}`
const frozenInput = (hookPoint: string) => `path/frozen/${hookPoint}`
const ownInput = (hookPoint: string) => `path/own/${hookPoint}`
const ownRowsInput = 'path/ownRows'
/** What an MLP makes of what it reads, before it is kept from writing that. */
const heardName = (hookPoint: string) => `path/heard/${hookPoint}`

/**
 * The tower with components that are told what to write: the sender what it writes in the other run, those that are frozen what they wrote in
 * this one. Outputs: the tower's own, and what receivers read.
 */
function frozenTower(
  { graph, types, tower }: BuiltTower,
  { writing, read }: { readonly writing: readonly string[]; readonly read: readonly string[] },
): Graph {
  const before = new Map<string, string>()
  const edits = writing.map((hookPoint) => {
    const info = infoOf(tower.hookPoints, hookPoint)
    const shape = lengthsOf(info)
    const edit: Parameters<typeof replaceEach>[1][number]['edit'] = ({ builder: b, value }) => {
      before.set(hookPoint, value)
      const mask = (name: string) => b.input(name, 'bool', ['batch', ...maskShape(info)])
      const row = (values: string, rows: string, symbol: string) =>
        b.op('Gather', [b.input(values, 'float32', [symbol, ...shape]), b.input(rows, 'int64', ['batch'])], { axis: 0 })
      const kept = b.op('Where', [mask(frozenInput(hookPoint)), row(ownInput(hookPoint), ownRowsInput, 'own'), value])
      return b.op('Where', [mask(sentInput(hookPoint)), row(otherInput(hookPoint), otherRowsInput, 'others'), kept])
    }
    return { hookPoint, edit }
  })
  const edited = replaceEach(graph, edits, types).graph
  const copies = read.map((hookPoint) => ({
    op: 'Identity' as const,
    inputs: [before.get(hookPoint) ?? hookPoint],
    outputs: [heardName(hookPoint)],
    attributes: {},
  }))
  return prune({ ...edited, nodes: [...edited.nodes, ...copies], outputs: [...graph.outputs, ...read.map(heardName)] })
}

interface Sent {
  readonly sender: Writer
  readonly trial: Trial
}

interface FrozenParts extends Pick<PathPatchingInput, 'through' | 'positions'> {
  readonly bench: Workbench
  readonly writing: readonly string[]
  readonly own: Outputs
  readonly others: Outputs
}

function frozenFeeds(
  rows: readonly Sent[],
  { bench, writing, own, others, through, positions }: FrozenParts,
): { readonly perRow: Inputs; readonly whole: Inputs } {
  const whole: Record<string, Tensor> = {}
  const perRow: Record<string, Tensor> = {
    [ownRowsInput]: int64(
      [rows.length],
      rows.map(({ trial }) => trial.pair),
    ),
    [otherRowsInput]: int64(
      [rows.length],
      rows.map(({ trial }) => trial.other),
    ),
  }
  const isSentFrom = (pos: number) => positions === undefined || positions.includes(pos)
  for (const hookPoint of writing) {
    const shape = maskShape(infoOf(bench.model.description.vision.hookPoints, hookPoint))
    const nHeads = shape.length === 3 ? shape[1]! : 1
    const length = elementCount(shape)
    const [sent, frozen] = [new Uint8Array(rows.length * length), new Uint8Array(rows.length * length)]
    for (const [at, { sender }] of rows.entries()) {
      for (let index = 0; index < length; index++) {
        const [pos, head] = [Math.floor(index / nHeads), index % nHeads]
        const isOpen = through === 'all' || through.some((component) => writes(component, hookPoint, head))
        sent[at * length + index] = Number(writes(sender, hookPoint, head) && isSentFrom(pos))
        frozen[at * length + index] = Number(!isOpen)
      }
    }
    perRow[sentInput(hookPoint)] = tensor('bool', [rows.length, ...shape], sent)
    perRow[frozenInput(hookPoint)] = tensor('bool', [rows.length, ...shape], frozen)
    whole[ownInput(hookPoint)] = own[hookPoint]!
    whole[otherInput(hookPoint)] = others[hookPoint]!
  }
  return { perRow, whole }
}

function writes(component: Writer, hookPoint: string, head: number): boolean {
  if (component.kind === 'embed') return hookPoint === embed
  if (component.kind === 'mlp') return hookPoint === mlpOf(component.layer)
  return hookPoint === zOf(component.layer) && (component.kind === 'attn' || component.head === head)
}

interface Heard {
  /** What receivers read, a row for each run. */
  readonly heard: Outputs
  readonly pairs: readonly number[]
  readonly pixels: Tensor<'float32'>
  readonly built: () => BuiltTower
}

/** Goes on from a receiver that reads what it heard, in runs that are otherwise their own. @returns the tower's outputs */
async function goOn(
  bench: Workbench,
  receiver: Exclude<Reader, { kind: 'output' }>,
  { heard, pairs, pixels, built }: Heard,
): Promise<Tensor<'float32'>> {
  const hookPoints = readByReceiver(receiver)
  const run = await sharedPrefix(bench, `paths to ${hookPoints.join(' ')}`, () => patchedTower(built(), hookPoints))
  const begun = await run.begin({ pixels })
  const feeds = hookPoints.flatMap((hookPoint): [string, Tensor][] => {
    const info = infoOf(bench.model.description.vision.hookPoints, hookPoint)
    const isItsHead = (head: number) => receiver.kind !== 'head' || head === receiver.head
    const nHeads = info.axes.includes('head') ? bench.model.config.nHeads : 1
    const mask = Uint8Array.from({ length: pairs.length * elementCount(maskShape(info)) }, (_, at) => Number(isItsHead(at % nHeads)))
    return [
      [maskInput(hookPoint), tensor('bool', [pairs.length, ...maskShape(info)], mask)],
      [otherInput(hookPoint), heard[heardName(hookPoint)]!],
    ]
  })
  const rows = int64(
    [pairs.length],
    pairs.map((_, at) => at),
  )
  const made = await begun.run(pairs, { ...Object.fromEntries(feeds), [otherRowsInput]: rows })
  return Object.values(made)[0]!
}

const infoOf = (hookPoints: readonly HookPointInfo[], name: string): HookPointInfo => hookPoints.find((each) => each.name === name)!

function checkPositions({ positions }: PathPatchingInput, config: VisionConfig): void {
  const problems = outOfRange(positions, { path: 'positions', what: 'position', length: nPositions(config) })
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
}

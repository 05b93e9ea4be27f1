/** Components of a model as ends and stations of paths: what writes to the residual stream, and what reads it. */

import { EngineError, type Problem } from '../../errors.js'
import type { VisionConfig } from '../../models/model.js'

/** What writes: the embedding (what enters the first block), a head, all heads of a layer, an MLP. */
export type Writer =
  | { readonly kind: 'embed' }
  | { readonly kind: 'head'; readonly layer: number; readonly head: number }
  | { readonly kind: 'attn'; readonly layer: number }
  | { readonly kind: 'mlp'; readonly layer: number }

export type HeadInput = 'q' | 'k' | 'v'

/** What reads: a head's queries, keys, values or several of them, those of all heads of a layer, an MLP, or the output. */
export type Reader =
  | { readonly kind: 'head'; readonly layer: number; readonly head: number; readonly inputs: readonly HeadInput[] }
  | { readonly kind: 'attn'; readonly layer: number; readonly inputs: readonly HeadInput[] }
  | { readonly kind: 'mlp'; readonly layer: number }
  | { readonly kind: 'output' }

/** `L2H1`, `attn 2`, `mlp 3`, `embed`, `output`; inputs of heads after a dot: `L4H0.q`. */
export function nameOf(component: Writer | Reader): string {
  const inputs = 'inputs' in component && component.inputs.length < 3 ? `.${component.inputs.join('')}` : ''
  switch (component.kind) {
    case 'head':
      return `L${component.layer}H${component.head}${inputs}`
    case 'attn':
    case 'mlp':
      return `${component.kind} ${component.layer}${inputs}`
    default:
      return component.kind
  }
}

/** Where a component is in the order of the computation. */
function stageOf(component: Writer | Reader): number {
  if (component.kind === 'embed') return -1
  if (component.kind === 'output') return Number.POSITIVE_INFINITY
  return 2 * component.layer + (component.kind === 'mlp' ? 1 : 0)
}

export interface Ends {
  readonly senders: readonly Writer[]
  readonly receivers: readonly Reader[]
  readonly through: 'all' | readonly Writer[]
}

/** @throws INPUT_INVALID with everything that the model does not have, and every receiver that comes before a sender */
export function checkEnds({ senders, receivers, through }: Ends, config: VisionConfig): void {
  const lists = { senders, receivers, through: through === 'all' ? [] : through }
  const problems: Problem[] = Object.entries(lists).flatMap(([list, components]) => {
    if (list !== 'through' && components.length === 0) return [{ path: list, message: 'the list is empty' }]
    return components.flatMap((component, at) => absences(component, config).map((message) => ({ path: `${list}[${at}]`, message })))
  })
  for (const [row, sender] of senders.entries()) {
    for (const [column, receiver] of receivers.entries()) {
      if (stageOf(sender) < stageOf(receiver)) continue
      const message = `${nameOf(receiver)} does not come after ${nameOf(sender)} (senders[${row}]), so no path leads to it`
      problems.push({ path: `receivers[${column}]`, message })
    }
  }
  const [first] = problems
  if (first) throw new EngineError('INPUT_INVALID', { path: first.path, problem: first.message }, problems)
}

function absences(component: Writer | Reader, config: VisionConfig): string[] {
  if (!('layer' in component)) return []
  const { layer } = component
  const absent: string[] = []
  if (!(Number.isInteger(layer) && layer >= 0 && layer < config.nLayers)) {
    absent.push(`layer ${layer} is out of range; this model has 0 to ${config.nLayers - 1}`)
  }
  if (component.kind === 'head' && !(Number.isInteger(component.head) && component.head >= 0 && component.head < config.nHeads)) {
    absent.push(`head ${component.head} is out of range; this model has 0 to ${config.nHeads - 1}`)
  }
  if (component.kind === 'mlp' && config.dMlp === undefined) absent.push('this model has no MLPs')
  if ('inputs' in component && component.inputs.length === 0) absent.push('"inputs" is empty; name q, k or v')
  return absent
}

/** How a model's answer becomes scores of classes: a classifier's logits as they are, or cosines with the embeddings of texts. */

import { EngineError } from '../errors.js'
import type { GraphBuilder } from '../graph/builder.js'
import { literal, normOver } from '../graph/expressions.js'
import type { Graph } from '../graph/graph.js'
import { GraphEditor } from '../graph/graph-editor.js'
import { outputAxes } from '../hook-points.js'
import type { VisionConfig } from '../models/model.js'
import type { Tensor } from '../tensor.js'

export type Classes =
  | { readonly kind: 'logits' }
  | {
      readonly kind: 'texts'
      /** `[nClasses, dEmbed]`, unit vectors (`labelEmbeddings`). */
      readonly embeddings: Tensor<'float32'>
      /** Of the bare class names, which prisma-compat cross-entropies are of. Absent: those are over `embeddings`, and flagged. */
      readonly bareEmbeddings?: Tensor<'float32'>
      /** CLIP's temperature, exponentiated. */
      readonly logitScale: number
      readonly logitBias?: number
    }

/** Outputs of a graph that scores were added to. */
export const scoreOutputs = { scores: 'scores', bareScores: 'bareScores' } as const

/** Inputs that texts are fed by. */
export const classInputs = { scores: 'classes', bareScores: 'bareClasses' } as const

/** @throws INPUT_INVALID when the model's output is no row of scores, or embedding, for each picture */
export function checkClasses(classes: Classes, config: VisionConfig): void {
  const axes = outputAxes(config)
  const refuse = (problem: string) => new EngineError('INPUT_INVALID', { path: 'classes', problem })
  if (axes.length !== 2) throw refuse(`the model's output has the axes ${axes.join(', ')}: no scores of pictures.`)
  if (classes.kind === 'logits') {
    if (config.head.kind !== 'classes') throw refuse('the model is no classifier; give embeddings of texts.')
    return
  }
  if (!(classes.logitScale > 0)) throw refuse(`logitScale is ${classes.logitScale}; it is above 0.`)
  const width = config.head.dOut
  for (const tensor of [classes.embeddings, classes.bareEmbeddings]) {
    if (tensor && (tensor.shape.length !== 2 || tensor.shape[1] !== width || tensor.shape[0]! < 1)) {
      throw new EngineError('SHAPE_MISMATCH', { what: 'Embeddings of texts', expected: ['nClasses', width], actual: tensor.shape })
    }
  }
  if (classes.bareEmbeddings && classes.bareEmbeddings.shape[0] !== classes.embeddings.shape[0]) {
    throw refuse(`there are ${classes.embeddings.shape[0]} classes and ${classes.bareEmbeddings.shape[0]} bare class names.`)
  }
}

/** Adds to a graph whose first output is the model's. Logits are that output itself. */
export function withScores(graph: Graph, classes: Classes | undefined): Graph {
  if (classes?.kind !== 'texts') return graph
  const editor = new GraphEditor(graph)
  const b = editor.builderAt(graph.nodes.length, 'scores/')
  const output = graph.outputs[0]!
  const unit = b.op('Div', [output, b.op('Max', [normOver(b, output, -1), literal(b, 1e-12)])])
  const outputs = [cosines(b, unit, 'scores', classes.embeddings)]
  if (classes.bareEmbeddings) outputs.push(cosines(b, unit, 'bareScores', classes.bareEmbeddings))
  editor.insert(graph.nodes.length, b.nodes(), b.declarations())
  return { ...editor.graph(), outputs: [...graph.outputs, ...outputs] }
}

function cosines(b: GraphBuilder, unit: string, kind: keyof typeof scoreOutputs, { shape }: Tensor): string {
  return b.named(scoreOutputs[kind], b.op('Gemm', [unit, b.input(classInputs[kind], 'float32', shape)], { transB: 1 }))
}

export function classFeeds(classes: Classes | undefined): Record<string, Tensor> {
  if (classes?.kind !== 'texts') return {}
  return { [classInputs.scores]: classes.embeddings, ...(classes.bareEmbeddings && { [classInputs.bareScores]: classes.bareEmbeddings }) }
}

/** Classes that a model with a text tower tells pictures apart by: embeddings of their names. */

import type { Backend } from '../backends/backend.js'
import { invariant } from '../errors.js'
import { embedTexts } from '../models/embed-texts.js'
import type { LoadedModel } from '../models/load.js'
import { labelEmbeddings, promptsOf } from '../models/zero-shot.js'
import type { Tensor } from '../tensor.js'
import type { Classes } from './class-scores.js'

/**
 * @param names      in words, one for each class
 * @param templates  with `{}` where the name goes
 * @throws INPUT_INVALID for templates without a place; TEXT_UNSUPPORTED or what the backend throws
 */
export async function textClasses(
  backend: Backend,
  { description, towers, tokenizer }: LoadedModel,
  { names, templates }: { readonly names: readonly string[]; readonly templates: readonly string[] },
): Promise<Classes> {
  const { text } = towers
  invariant(text && tokenizer && description.logitScale !== undefined, 'a model without a text tower has no text classes')
  const graph = text.buildGraph(new Set())
  const [output] = graph.outputs as [string]
  const [program, weights] = await Promise.all([backend.compile(graph), backend.upload(text.weights)])
  try {
    const run = async (tokens: Tensor) => (await program.run({ inputs: { tokens }, weights, fetch: [output] }))[output] as Tensor<'float32'>
    const embed = (texts: readonly string[]) => embedTexts(texts, tokenizer, run)
    const of = async (used: readonly string[]) => labelEmbeddings(await embed(promptsOf(names, used).flat()), names.length)
    const isBare = templates.length === 1 && templates[0] === '{}'
    const embeddings = await of(templates)
    return {
      kind: 'texts',
      embeddings,
      bareEmbeddings: isBare ? embeddings : await of(['{}']),
      logitScale: description.logitScale,
      ...(description.logitBias !== undefined && { logitBias: description.logitBias }),
    }
  } finally {
    await Promise.all([program.dispose(), weights.dispose()])
  }
}

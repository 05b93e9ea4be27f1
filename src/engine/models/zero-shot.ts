/**
 * Zero-shot classification as CLIP does it: each label is the mean direction of its prompts' embeddings, and a picture is scored by cosine
 * similarity times the model's own temperature. Mathematics on tensors that the towers have made.
 * Radford et al. (2021), section 3.1.4.
 */

import { probabilitiesOf } from '../distributions.js'
import { EngineError } from '../errors.js'
import { float32, type Tensor } from '../tensor.js'

/** Where a template takes the label. */
const PLACE = '{}'

/**
 * The prompts of each label: every template with every `{}` replaced.
 * @throws INPUT_INVALID when there is no label or no template, or a template has no place for the label
 */
export function promptsOf(labels: readonly string[], templates: readonly string[]): string[][] {
  if (labels.length === 0) throw new EngineError('INPUT_INVALID', { path: 'labels', problem: 'at least one label is needed.' })
  if (templates.length === 0) throw new EngineError('INPUT_INVALID', { path: 'templates', problem: 'at least one template is needed.' })
  templates.forEach((template, index) => {
    if (template.includes(PLACE)) return
    throw new EngineError('INPUT_INVALID', { path: `templates[${index}]`, problem: `has no "${PLACE}" for the label.` })
  })
  return labels.map((label) => templates.map((template) => template.split(PLACE).join(label)))
}

/**
 * One unit vector a label: the mean of its prompts' unit vectors, made a unit vector again.
 * @param embeddings  `[label * template, dEmbed]`, the prompts of a label together, of any length
 * @returns           `[label, dEmbed]`
 * @throws SHAPE_MISMATCH when rows are no multiple of the number of labels
 */
export function labelEmbeddings(embeddings: Tensor<'float32'>, nLabels: number): Tensor<'float32'> {
  const [nRows, width] = embeddings.shape as [number, number]
  if (embeddings.shape.length !== 2 || nLabels < 1 || nRows % nLabels !== 0) {
    throw new EngineError('SHAPE_MISMATCH', { what: 'Prompt embeddings', expected: [`${nLabels} n`, 'dEmbed'], actual: embeddings.shape })
  }
  const perLabel = nRows / nLabels
  const result = new Float32Array(nLabels * width)
  for (let label = 0; label < nLabels; label++) {
    const sum = new Float64Array(width)
    for (let prompt = 0; prompt < perLabel; prompt++) {
      const row = unit(embeddings.data.subarray((label * perLabel + prompt) * width, (label * perLabel + prompt + 1) * width))
      for (let d = 0; d < width; d++) sum[d]! += row[d]!
    }
    result.set(unit(sum), label * width)
  }
  return float32([nLabels, width], result)
}

/**
 * Scores of pictures against labels.
 * @param images       `[batch, dEmbed]`, of any length
 * @param labels       `[label, dEmbed]`, unit vectors
 * @param logitScale   CLIP's temperature, exponentiated
 * @returns            logits = logitScale * cosine + logitBias, and their softmax over labels; both `[batch, label]`
 * @throws SHAPE_MISMATCH when widths differ
 */
export function zeroShotScores(
  images: Tensor<'float32'>,
  labels: Tensor<'float32'>,
  { logitScale, logitBias = 0 }: { logitScale: number; logitBias?: number },
): { logits: Tensor<'float32'>; probabilities: Tensor<'float32'> } {
  const [nImages, width] = images.shape as [number, number]
  const [nLabels, labelWidth] = labels.shape as [number, number]
  if (images.shape.length !== 2 || labels.shape.length !== 2 || width !== labelWidth) {
    throw new EngineError('SHAPE_MISMATCH', { what: 'Image embeddings', expected: ['batch', labelWidth], actual: images.shape })
  }
  const logits = new Float32Array(nImages * nLabels)
  const probabilities = new Float32Array(nImages * nLabels)
  for (let image = 0; image < nImages; image++) {
    const direction = unit(images.data.subarray(image * width, (image + 1) * width))
    const row = Float64Array.from({ length: nLabels }, (_, label) => {
      let cosine = 0
      for (let d = 0; d < width; d++) cosine += direction[d]! * labels.data[label * width + d]!
      return logitScale * cosine + logitBias
    })
    logits.set(row, image * nLabels)
    probabilities.set(probabilitiesOf(row), image * nLabels)
  }
  return { logits: float32([nImages, nLabels], logits), probabilities: float32([nImages, nLabels], probabilities) }
}

/** Of length 1, as `torch.nn.functional.normalize`. */
function unit(vector: ArrayLike<number>): Float64Array {
  let square = 0
  for (let d = 0; d < vector.length; d++) square += vector[d]! * vector[d]!
  const length = Math.max(Math.sqrt(square), 1e-12)
  return Float64Array.from(vector, (value) => value / length)
}

/**
 * Requests of one structure as one batch: each member's feeds, the run in parts that fit into memory, and what comes out dealt out again.
 */

import type { Program, ResidentWeights } from '../backends/backend.js'
import { deviceFailure, isLost, isTooMuch } from '../backends/device-failures.js'
import { EngineError } from '../errors.js'
import { editInputs } from '../interventions/apply-edits.js'
import type { Edit } from '../interventions/edit.js'
import { mergeEditInputs } from '../interventions/merge-inputs.js'
import type { ClipTokenizer } from '../models/tokenizer.js'
import { joinRows, rowsOfTensor } from '../rows.js'
import type { AxisInput } from '../saes/attach-saes.js'
import { type DType, int64, type Tensor } from '../tensor.js'
import { RowShares } from './batch-rows.js'
import { checkCodes } from './check-codes.js'
import type { BatchMember, Outcome } from './engine-worker-calls.js'
import type { Codes, RunInputs, SaeRead } from './host.js'
import { fetchedValues, type PlannedStructure } from './planned-structure.js'
import { toWire } from './remote.js'

export interface Job {
  readonly device: string
  readonly program: Program
  readonly weights: ResidentWeights
  readonly planned: PlannedStructure
  readonly maxRows: number
  /** Of the structure. */
  readonly saes: readonly SaeRead[]
}

/** A member that can be run: its feeds, one row for each of its inputs. */
export interface Share {
  readonly nRows: number
  readonly main: Tensor
  readonly inputs: Readonly<Record<string, Tensor>>
  readonly edits: readonly Edit[]
}

/**
 * Checks a request against its structure and makes its feeds.
 * @throws INPUT_INVALID, SHAPE_MISMATCH, TEXT_INVALID, and every error of editing
 */
export function shareOf({ inputs, edits }: BatchMember, { tower, input }: PlannedStructure, tokenizer: ClipTokenizer | undefined): Share {
  const main = inputs.kind === 'text' ? tokens(inputs.texts, tokenizer) : pixels(inputs, input.rowShape)
  const nRows = main.shape[0]!
  return { nRows, main, inputs: editInputs(edits, tower, nRows), edits }
}

function tokens(texts: readonly string[], tokenizer: ClipTokenizer | undefined): Tensor<'int64'> {
  if (texts.length === 0) throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: 'there is no text' })
  if (tokenizer === undefined) throw new EngineError('TEXT_INVALID', { problem: 'the model has no tokenizer.' })
  return tokenizer.encode(texts)
}

function pixels(inputs: Exclude<RunInputs, { kind: 'text' }>, rowShape: readonly number[]): Tensor<'float32'> {
  const given =
    inputs.kind === 'pixels' ? [inputs.pixels] : inputs.pictures.map((picture) => ({ ...picture, shape: [1, ...picture.shape] }))
  const nRows = given.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0)
  if (nRows === 0) throw new EngineError('INPUT_INVALID', { path: 'inputs', problem: 'there is no picture' })
  for (const { shape } of given) {
    if (shape.slice(1).join() === rowShape.join()) continue
    throw new EngineError('SHAPE_MISMATCH', { what: 'A prepared picture', expected: rowShape, actual: shape.slice(1) })
  }
  return joinRows(given)
}

/** Runs them as one batch; where that fails, each by itself, so that none pays for another. @throws DEVICE_LOST, which is nobody's in particular */
export async function runShares(job: Job, shares: readonly Share[]): Promise<Outcome[]> {
  try {
    return await runTogether(job, shares)
  } catch (error) {
    if (isLost(error)) throw error
    if (shares.length === 1) return [{ error: toWire(error) }]
    const outcomes: Outcome[] = []
    for (const share of shares) outcomes.push(...(await runShares(job, [share])))
    return outcomes
  }
}

/** In parts of at most `maxRows` rows; smaller ones when a part does not find the memory it needs. */
async function runTogether({ device, program, weights, planned, maxRows, saes }: Job, shares: readonly Share[]): Promise<Outcome[]> {
  const { input, roles } = planned
  const fetch = fetchedValues(planned)
  const selected = selectionFeeds(planned, saes)
  const inputs = { [input.name]: joinRows(shares.map(({ main }) => main)), ...mergeEditInputs(shares, roles) }
  const nRows = inputs[input.name]!.shape[0]!
  const dealt = fetch.map(() => new RowShares(shares.map(({ nRows }) => nRows)))
  let step = maxRows
  for (let row = 0; row < nRows; ) {
    const end = Math.min(nRows, row + step)
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, rowsOfTensor(tensor, row, end)]))
    try {
      const values = await program.run({ inputs: { ...feeds, ...selected }, weights, fetch })
      for (const [index, name] of fetch.entries()) dealt[index]!.add(values[name]!)
      row = end
    } catch (error) {
      // This process can be out of memory, too, for what a backend hands over.
      const failure = deviceFailure(error, { device, doing: `running ${end - row} inputs` }) ?? error
      if (!isTooMuch(failure) || end - row === 1 || !Number.isFinite(maxRows)) throw failure
      step = Math.ceil((end - row) / 2)
    }
  }
  const values = dealt.map((each) => each.take())
  return shares.map(({ edits }, index) => {
    const own = values.map((tensors) => tensors[index]!)
    try {
      return outcomeOf(planned, own, { edits, saes })
    } catch (error) {
      return { error: toWire(error) }
    }
  })
}

/**
 * @param tensors  one for each of `fetchedValues`
 * @throws         what checkCodes throws
 */
function outcomeOf(
  { fetch: { output, activations, codes } }: PlannedStructure,
  tensors: readonly Tensor[],
  { edits, saes }: { readonly edits: readonly Edit[]; readonly saes: readonly SaeRead[] },
): Outcome {
  const rest = tensors.values()
  const take = <D extends DType>() => rest.next().value as Tensor<D>
  return {
    ...(output !== undefined && { output: take<'float32'>() }),
    activations: activations.map(() => take<'float32'>()),
    codes: codes.map(({ values: { tokens, images, chosen } }, index) => {
      const read: Codes = {
        ...(tokens && { tokens: { activations: take<'float32'>(), latents: take<'int32'>() } }),
        ...(images && { images: { activations: take<'float32'>(), latents: take<'int32'>(), tokens: take<'int32'>() } }),
        ...(chosen !== undefined && { chosen: take<'float32'>() }),
      }
      checkCodes(read, take<'float32'>(), { ...saes[index]!, edits })
      return read
    }),
  }
}

/** The positions that SAEs read and the latents that are chosen of them, the same for every row. @throws POSITION_OUT_OF_RANGE, INPUT_INVALID */
export function selectionFeeds({ fetch: { codes } }: PlannedStructure, saes: readonly SaeRead[]): Record<string, Tensor<'int64'>> {
  return Object.fromEntries(
    codes.flatMap(({ positions, latents }, index) => {
      const read = saes[index]!
      return [
        ...indices(positions, read.positions, {
          path: `saes[${index}].positions`,
          outside: (position, length, path) => new EngineError('POSITION_OUT_OF_RANGE', { path, position, length }),
        }),
        ...indices(latents, read.latents, {
          path: `saes[${index}].latents`,
          outside: (latent, length, path) => {
            return new EngineError('INPUT_INVALID', { path, problem: `${latent} is out of range; there are latents 0 to ${length - 1}` })
          },
        }),
      ]
    }),
  )
}

function indices(
  axis: AxisInput | undefined,
  given: readonly number[] | undefined,
  { path, outside }: { path: string; outside: (index: number, length: number, path: string) => EngineError },
): [input: string, tensor: Tensor<'int64'>][] {
  if (axis === undefined || given === undefined) return []
  if (given.length === 0) throw new EngineError('INPUT_INVALID', { path, problem: 'is empty' })
  const odd = given.find((index) => !Number.isInteger(index) || index < 0 || index >= axis.most)
  if (odd !== undefined) throw outside(odd, axis.most, path)
  return [[axis.input, int64([given.length], given)]]
}

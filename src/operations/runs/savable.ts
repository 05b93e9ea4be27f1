/**
 * The requests that can be kept, by the names of their operations: what is refused of one before it is run, the SAEs that it names, and what
 * the binary forms of its answer hold. Nothing in them may depend on what a data set or an index is by then.
 */

import type { Static, TSchema } from 'typebox'
import { columnTensors } from '../../engine/io/arrow-table.js'
import type { Tensor } from '../../engine/tensor.js'
import { checkForward, forward, forwardTensors } from '../forward.js'
import type { Call, Context, Operation } from '../operation.js'
import { checkPatching, patching, patchingTensors } from '../patching.js'
import { checkPathPatching, pathPatching, pathPatchingTensors } from '../path-patching.js'
import type { EditInput } from '../schemas/edit.js'
import type { SweepRequest } from '../schemas/sweep.js'
import { checkSteer, steer, steerTensors } from '../steer.js'
import { checkSweep, steerSweep, sweepColumns } from '../steer-sweep.js'

/** Of all kinds together, what names SAEs. */
export interface NamesSaes {
  readonly edits?: readonly EditInput[]
  readonly directions?: SweepRequest['directions']
  readonly sae?: string
}

interface Savable<Input extends TSchema, Output extends TSchema> {
  readonly operation: Operation<Input, Output>
  /** What the operation refuses before it looks at pictures. @throws all problems at once */
  check(context: Context, input: Static<Input>, call: Call): Promise<unknown>
  tensors(output: Static<Output>): Readonly<Record<string, Tensor>>
}

const savable = <Input extends TSchema, Output extends TSchema>(about: Savable<Input, Output>) => about

export const savables = {
  forward: savable({ operation: forward, check: checkForward, tensors: forwardTensors }),
  steer: savable({ operation: steer, check: checkSteer, tensors: steerTensors }),
  steerSweep: savable({ operation: steerSweep, check: checkSweep, tensors: (swept) => columnTensors(sweepColumns(swept)) }),
  patching: savable({ operation: patching, check: checkPatching, tensors: patchingTensors }),
  pathPatching: savable({ operation: pathPatching, check: checkPathPatching, tensors: pathPatchingTensors }),
} as const

export type RunKind = keyof typeof savables

export const runKinds = Object.keys(savables) as readonly RunKind[]

/** Each once, sorted. */
export function saesNamed({ edits = [], directions = [], sae }: NamesSaes): string[] {
  const ofVector = (vector: unknown) => (typeof vector === 'object' && vector !== null && 'sae' in vector ? [vector.sae as string] : [])
  const ofEdits = edits.flatMap((edit) => ('sae' in edit ? [edit.sae] : 'vector' in edit ? ofVector(edit.vector) : []))
  const named = [...ofEdits, ...directions.flatMap(({ vector }) => ofVector(vector)), ...(sae === undefined ? [] : [sae])]
  return [...new Set(named)].sort()
}

/**
 * How a door calls an operation: the right is checked, then the input, then it runs.
 */

import type { Static, TSchema } from 'typebox'
import { RequestError } from './errors.js'
import type { Call, Context, Operation, Scope } from './operation.js'
import { type Validator, validator } from './validate.js'

/** Who calls. Without any key configured, everyone on this machine may do everything. */
export interface Caller {
  /** The key's id; undefined where no key is needed. */
  readonly keyId?: string
  readonly scopes: readonly Scope[]
}

export const everyone: Caller = { scopes: ['admin'] }

/** @throws FORBIDDEN. The scope `admin` implies the others. */
export function authorize(caller: Caller, needed: Scope): void {
  if (caller.scopes.includes(needed) || caller.scopes.includes('admin')) return
  throw new RequestError('FORBIDDEN', { needed, scopes: caller.scopes })
}

/** Each operation's compiled input check. */
export class Invoker {
  readonly #context: Context
  readonly #validators = new Map<Operation, Validator<TSchema>>()

  constructor(context: Context) {
    this.#context = context
  }

  /** @throws FORBIDDEN, INPUT_INVALID, LIMIT_EXCEEDED, and what the operation throws */
  async invoke<I extends TSchema, O extends TSchema>(
    operation: Operation<I, O>,
    input: unknown,
    call: Call & { readonly caller: Caller },
  ): Promise<Static<O>> {
    authorize(call.caller, operation.scope)
    return operation.run(this.#context, this.#validatorOf(operation as unknown as Operation)(input) as Static<I>, call)
  }

  #validatorOf(operation: Operation): Validator<TSchema> {
    const known = this.#validators.get(operation)
    if (known) return known
    const made = validator(operation.input)
    this.#validators.set(operation, made)
    return made
  }
}

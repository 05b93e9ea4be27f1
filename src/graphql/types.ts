/**
 * What GraphQL needs from outside, and what a resolver is given.
 */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Caller, Invoker } from '../operations/invoke.js'
import type { Call, Context } from '../operations/operation.js'

export interface GraphqlParts {
  readonly context: Context
  readonly invoker: Invoker
  callOf(request: FastifyRequest, reply: FastifyReply): Call
  /** An error as REST would answer it. */
  describe(error: unknown, request: FastifyRequest): DescribedError
  /** The refusal of any other method. */
  onlyPost(request: FastifyRequest): Error
}

export interface DescribedError {
  readonly problem: { readonly code: string; readonly status: number; readonly detail: string }
  readonly retryAfterSeconds?: number
  readonly isOurs: boolean
}

export interface GraphqlContext {
  readonly context: Context
  readonly invoker: Invoker
  readonly call: Call & { readonly caller: Caller }
}

/** A file of a multipart request, where a variable of type Upload stands. */
export class UploadedFile {
  readonly bytes: Buffer

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
}

/**
 * What goes wrong between the server and its database, said for people. Never with the password.
 */

import { EngineError } from '../../engine/errors.js'

const problems: Readonly<Record<string, { problem: string; instead: string }>> = {
  ECONNREFUSED: { problem: 'nothing listens there', instead: 'Start it, or correct DATABASE_URL.' },
  ENOTFOUND: { problem: 'there is no such host', instead: 'Correct DATABASE_URL.' },
  EAI_AGAIN: { problem: 'the host name cannot be resolved now', instead: 'Check the network, or correct DATABASE_URL.' },
  ECONNRESET: { problem: 'it closed the connection', instead: 'See its log.' },
  CONNECTION_CLOSED: { problem: 'it closed the connection', instead: 'See its log.' },
  CONNECTION_ENDED: { problem: 'it closed the connection', instead: 'See its log.' },
  CONNECT_TIMEOUT: { problem: 'it does not answer', instead: 'Check the network and DATABASE_URL.' },
  ETIMEDOUT: { problem: 'it does not answer', instead: 'Check the network and DATABASE_URL.' },
  '28P01': { problem: 'user name or password is wrong', instead: 'Correct DATABASE_URL.' },
  '28000': { problem: 'it does not let this user in', instead: 'Correct DATABASE_URL, or its pg_hba.conf.' },
  '3D000': { problem: 'there is no such database', instead: 'Create it (createdb), or correct DATABASE_URL.' },
  '42501': { problem: 'this user may not do that', instead: 'Make the user the owner of the database.' },
  '53300': { problem: 'it has no connection left', instead: 'Raise its max_connections.' },
  '53100': { problem: 'its disk is full', instead: 'Free some space there.' },
  '57P01': { problem: 'it was stopped', instead: 'Try again in a moment.' },
  '57P02': { problem: 'it crashed and is recovering', instead: 'Try again in a moment.' },
  '57P03': { problem: 'it is starting up or shutting down', instead: 'Try again in a moment.' },
}

/** What Prisma calls the same over node-postgres. */
const prismaKinds: Readonly<Record<string, string>> = {
  DatabaseNotReachable: 'ECONNREFUSED',
  ConnectionClosed: 'CONNECTION_CLOSED',
  SocketTimeout: 'ETIMEDOUT',
  AuthenticationFailed: '28P01',
  DatabaseAccessDenied: '28000',
  DatabaseDoesNotExist: '3D000',
  TooManyConnections: '53300',
}

/** What node-postgres says of a connection without a code. */
const bareMessages: readonly (readonly [RegExp, string])[] = [
  [/^Connection terminated due to connection timeout|^timeout exceeded when trying to connect|^Query read timeout/, 'CONNECT_TIMEOUT'],
  [/^Connection terminated|^Client has encountered a connection error/, 'CONNECTION_CLOSED'],
]

/** `error` as DATABASE_UNAVAILABLE where it is about reaching or using the database; unchanged otherwise. */
export function databaseError(error: unknown, databaseUrl: string): unknown {
  if (error instanceof EngineError) return error
  const code = codeOf(error)
  const known = code === undefined ? undefined : problems[code]
  if (known === undefined) return error
  const { hostname, port, pathname } = new URL(databaseUrl)
  return new EngineError('DATABASE_UNAVAILABLE', {
    problem: `${hostname}:${port || '5432'}${pathname}: ${known.problem} (${lastLine(error) || code})`,
    instead: known.instead,
  })
}

/** Prisma's messages begin with the call that failed; what happened is their last line. */
const lastLine = (error: unknown) => (error as Error).message.trim().split('\n').at(-1)

/** node-postgres and postgres.js put it on the error, on one of several (IPv6 and IPv4) or on its cause; Prisma on its adapter's error. */
function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { code, kind, errors, cause, meta, message } = error as {
    code?: unknown
    kind?: unknown
    errors?: readonly unknown[]
    cause?: unknown
    meta?: { driverAdapterError?: unknown }
    message?: unknown
  }
  if (typeof code === 'string' && code in problems) return code
  if (typeof kind === 'string' && kind in prismaKinds) return prismaKinds[kind]
  const bare = typeof message === 'string' ? bareMessages.find(([pattern]) => pattern.test(message)) : undefined
  if (bare) return bare[1]
  return errors?.map(codeOf).find(Boolean) ?? codeOf(meta?.driverAdapterError) ?? (cause === error ? undefined : codeOf(cause))
}

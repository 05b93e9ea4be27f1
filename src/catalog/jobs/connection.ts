/**
 * The connections that jobs are kept through: a small pool of their own, so that a busy API never keeps a heartbeat waiting, and one that
 * listens. Both come back by themselves when the database does.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { EngineError } from '../../engine/errors.js'
import { databaseError } from '../postgres/database-errors.js'

export type Sql = postgres.Sql
export type Transaction = postgres.TransactionSql

const MAX_CONNECTIONS = 4
const CONNECT_SECONDS = 5
const IDLE_SECONDS = 60
/** Every statement here takes milliseconds. */
const QUERY_MS = 15_000

export interface JobConnection {
  /** @throws DATABASE_UNAVAILABLE when the database does not answer, or not in time */
  ask<T>(question: (sql: Sql) => Promise<T>): Promise<T>
  /** All or nothing. @throws DATABASE_UNAVAILABLE; whether it was committed is not known then */
  transact<T>(body: (sql: Transaction) => Promise<T>): Promise<T>
  listen(channel: string, listener: (payload: string) => void): () => void
  close(): Promise<void>
}

export function openJobConnection(databaseUrl: string): JobConnection {
  const sql = postgres(databaseUrl, {
    max: MAX_CONNECTIONS,
    connect_timeout: CONNECT_SECONDS,
    idle_timeout: IDLE_SECONDS,
    onnotice: () => {},
    connection: { application_name: 'refract jobs', statement_timeout: QUERY_MS },
  })
  const inTime = async <T>(answer: Promise<T>): Promise<T> => {
    const late = new AbortController()
    const silence = sleep(QUERY_MS, undefined, { signal: late.signal, ref: false }).then(
      () => Promise.reject(Object.assign(new Error('Query read timeout'), { code: 'ETIMEDOUT' })),
      () => new Promise<never>(() => {}),
    )
    try {
      return await Promise.race([answer, silence])
    } catch (error) {
      throw databaseError(error, databaseUrl)
    } finally {
      late.abort()
    }
  }
  return {
    ask: (question) => inTime(question(sql)),
    transact: (body) => inTime(sql.begin((transaction) => body(transaction)) as Promise<never>),
    listen(channel, listener) {
      let closed = false
      const listening = sql.listen(channel, (payload) => {
        if (!closed) listener(payload)
      })
      // the library goes on trying; meanwhile whoever listens looks from time to time
      listening.catch(() => {})
      return () => {
        closed = true
        void listening.then(({ unlisten }) => unlisten()).catch(() => {})
      }
    },
    close: () => sql.end({ timeout: 2 }),
  }
}

export const isDatabaseAway = (error: unknown) => error instanceof EngineError && error.code === 'DATABASE_UNAVAILABLE'

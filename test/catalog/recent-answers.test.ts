import { expect, test } from 'vitest'
import { RecentAnswers } from '../../src/catalog/recent-answers.js'

/** A table of one column, a count of the questions it was asked, and a clock. */
function asked(rows: Record<string, string>) {
  const state = { now: 5000, questions: 0, isDown: false }
  const answers = new RecentAnswers<{ readonly value: string }>(
    async (id) => {
      state.questions++
      if (state.isDown) throw new Error('the database is down')
      return id in rows ? { value: rows[id]! } : undefined
    },
    () => state.now,
  )
  return { answers, state, rows }
}

test('an answer serves all who ask at once and for a second after', async () => {
  const { answers, state } = asked({ a: 'one' })
  const all = await Promise.all([answers.get('a'), answers.get('a')])
  expect(all).toEqual([{ value: 'one' }, { value: 'one' }])
  state.now += 999
  await answers.get('a')
  expect(state.questions).toBe(1)
})

test('what another process changed is seen when the second is over', async () => {
  const { answers, state, rows } = asked({ a: 'one' })
  await answers.get('a')
  rows.a = 'two'
  state.now += 1001
  expect(await answers.get('a')).toEqual({ value: 'two' })
})

test('what was forgotten is asked for again, also while the old answer is under way', async () => {
  const { answers, rows } = asked({ a: 'one' })
  const before = answers.get('a')
  rows.a = 'two'
  answers.forget('a')
  expect(await answers.get('a')).toEqual({ value: 'two' })
  await before
  expect(await answers.get('a')).toEqual({ value: 'two' })
})

test('that there is nothing is not believed', async () => {
  const { answers, rows } = asked({})
  expect(await answers.get('a')).toBeUndefined()
  rows.a = 'one'
  expect(await answers.get('a')).toEqual({ value: 'one' })
})

test('a failure goes to those who waited for it and to nobody after them', async () => {
  const { answers, state } = asked({ a: 'one' })
  state.isDown = true
  await expect(answers.get('a')).rejects.toThrow('the database is down')
  state.isDown = false
  expect(await answers.get('a')).toEqual({ value: 'one' })
})

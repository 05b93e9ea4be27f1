import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { choosePlace, type Place } from '../../../src/engine/host/placement.js'

const WANTED = 100

const idle: Place = { state: 'ready', heldBytes: 0, freeBytes: 1000, roomBytes: 1000, nRequests: 0, isBusy: false }

const place = fc
  .record({
    state: fc.constantFrom('ready', 'ready', 'ready', 'starting', 'restarting', 'unhealthy', 'closed') as fc.Arbitrary<Place['state']>,
    heldBytes: fc.constantFrom(0, 0, 40, 60, WANTED),
    freeBytes: fc.integer({ min: -50, max: 300 }),
    idleBytes: fc.integer({ min: 0, max: 100 }),
    nRequests: fc.nat(4),
    isBusy: fc.boolean(),
  })
  .map(({ idleBytes, ...rest }): Place => ({ ...rest, roomBytes: rest.freeBytes + rest.heldBytes + idleBytes }))
const places = fc.array(place, { minLength: 1, maxLength: 5 })

const rank = ({ state }: Place) => ['ready', 'starting restarting', 'unhealthy', 'closed'].findIndex((states) => states.includes(state))
const fits = ({ heldBytes, roomBytes }: Place) => heldBytes >= WANTED || roomBytes >= WANTED
const isLossless = ({ state, nRequests, heldBytes, freeBytes }: Place) =>
  state === 'ready' && nRequests === 0 && heldBytes + freeBytes >= WANTED

/** What is chosen, whatever the places are, for each of many. */
const always = (law: (chosen: Place, all: readonly Place[]) => void) =>
  fc.assert(
    fc.property(places, (all) => void law(all[choosePlace(all, WANTED)]!, all)),
    { numRuns: 2000 },
  )

describe('the place of a request', () => {
  test('is one that is alive where one is', () => {
    always((chosen, all) => expect(rank(chosen)).toBe(Math.min(...all.map(rank))))
  })

  test('has room for all that is wanted, where one of the living has', () => {
    always((chosen, all) => {
      const alive = all.filter((each) => rank(each) === rank(chosen))
      if (alive.some(fits)) expect(fits(chosen) || isLossless(chosen)).toBe(true)
    })
  })

  test('is where most of what is wanted is, unless those who wait there fill a run and an idle one loses nothing by it', () => {
    always((chosen, all) => {
      const alike = all.filter((each) => rank(each) === rank(chosen) && fits(each) === fits(chosen))
      const most = Math.max(...alike.map(({ heldBytes }) => heldBytes))
      if (chosen.heldBytes === most) return
      expect(isLossless(chosen)).toBe(true)
      expect(all.some(({ isBusy, heldBytes }) => isBusy && heldBytes > chosen.heldBytes)).toBe(true)
    })
  })

  test('of what is nowhere is where the most memory is free, then where the fewest requests are, then the first', () => {
    always((chosen, all) => {
      if (all.some(({ heldBytes }) => heldBytes > 0)) return
      const alike = all.filter((each) => rank(each) === rank(chosen) && fits(each) === fits(chosen))
      const freeBytes = Math.max(...alike.map((each) => each.freeBytes))
      const roomiest = alike.filter((each) => each.freeBytes === freeBytes)
      const calmest = roomiest.some(({ isBusy }) => !isBusy) ? roomiest.filter(({ isBusy }) => !isBusy) : roomiest
      const nRequests = Math.min(...calmest.map((each) => each.nRequests))
      expect(chosen).toBe(calmest.find((each) => each.nRequests === nRequests))
    })
  })

  test('does not depend on the order of places, but for equal ones', () => {
    fc.assert(
      fc.property(
        places.chain((all) => fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length }))),
        ([all, shuffled]) => {
          const [one, other] = [all[choosePlace(all, WANTED)]!, shuffled[choosePlace(shuffled, WANTED)]!]
          const { heldBytes, freeBytes, isBusy, nRequests } = one
          // how much is free is weighed only where something has to come
          expect(other).toMatchObject({ heldBytes, isBusy, nRequests, ...(heldBytes < WANTED && { freeBytes }) })
        },
      ),
    )
  })

  test('of what wants nothing is where the fewest requests are', () => {
    expect(
      choosePlace(
        [
          { ...idle, nRequests: 1 },
          { ...idle, freeBytes: 0 },
        ],
        0,
      ),
    ).toBe(1)
  })

  test('of one that is busy everywhere is where the fewest requests are', () => {
    const holder: Place = { ...idle, heldBytes: WANTED, nRequests: 9, isBusy: true }
    expect(choosePlace([holder, { ...holder, nRequests: 7 }, { ...holder, nRequests: 8 }], WANTED)).toBe(1)
  })

  test('stays where a model is as long as its next run is not full, however idle others are', () => {
    const home: Place = { ...idle, heldBytes: WANTED, nRequests: 5 }
    expect(choosePlace([idle, home], WANTED)).toBe(1)
    expect(choosePlace([idle, { ...home, isBusy: true }], WANTED)).toBe(0)
    expect(
      choosePlace(
        [
          { ...idle, nRequests: 1 },
          { ...home, isBusy: true },
        ],
        WANTED,
      ),
    ).toBe(1)
    expect(
      choosePlace(
        [
          { ...idle, freeBytes: WANTED - 1 },
          { ...home, isBusy: true },
        ],
        WANTED,
      ),
    ).toBe(1)
  })

  test('spreads models evenly: no device is ahead of another by more than the largest model', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 20 }), (nDevices, models) => {
        const used = Array.from({ length: nDevices }, () => 0)
        for (const bytes of models) {
          const seen = used.map((taken): Place => ({ ...idle, freeBytes: 10_000 - taken, roomBytes: 10_000 }))
          used[choosePlace(seen, bytes)]! += bytes
        }
        expect(Math.max(...used) - Math.min(...used)).toBeLessThanOrEqual(Math.max(0, ...models))
      }),
    )
  })
})

/**
 * Which of several devices a request goes to. Models stay where they are; what is nowhere goes where the most memory is free. A model gets
 * a second place only where nobody has to leave for it: when those who wait at its own fill a whole run, and another device is idle and has
 * the room. See docs/decisions/0006-several-devices.md.
 */

import type { HostStatus } from './host.js'

/** A device, as one request sees it. */
export interface Place {
  readonly state: HostStatus['state']
  /** Of the weights that the request wants: bytes that are there, or on their way. */
  readonly heldBytes: number
  /** Bytes that nothing takes, or is on its way to. */
  readonly freeBytes: number
  /** Bytes that all that is wanted could take together, once what is idle has made room. */
  readonly roomBytes: number
  /** Requests that wait or are being served. */
  readonly nRequests: number
  /** Those who wait fill its next run: who comes now waits for more than that one. */
  readonly isBusy: boolean
}

/** The best first: those that are alive, then those that may come back, then those that were given up for a while. */
const ranks: Readonly<Record<Place['state'], number>> = { ready: 0, starting: 1, restarting: 1, unhealthy: 2, closed: 3 }

/**
 * @param places       at least one; of equal ones the first is taken
 * @param wantedBytes  of all weights that the request wants, held or not
 * @returns            the index of the place
 */
export function choosePlace(places: readonly Place[], wantedBytes: number): number {
  const home = best(places, wantedBytes)!
  const relief = home.isBusy && home.heldBytes > 0 ? best(places.filter(losesNothing(wantedBytes)), wantedBytes) : undefined
  return places.indexOf(relief ?? home)
}

function best(places: readonly Place[], wantedBytes: number): Place | undefined {
  const fits = ({ heldBytes, roomBytes }: Place) => Number(heldBytes >= wantedBytes || roomBytes >= wantedBytes)
  const compare = (a: Place, b: Place) =>
    ranks[a.state] - ranks[b.state] ||
    fits(b) - fits(a) ||
    b.heldBytes - a.heldBytes ||
    (a.heldBytes < wantedBytes ? b.freeBytes - a.freeBytes : 0) ||
    Number(a.isBusy) - Number(b.isBusy) ||
    a.nRequests - b.nRequests
  return [...places].sort(compare)[0]
}

/** One that is idle, and where nobody has to leave. */
const losesNothing =
  (wantedBytes: number) =>
  ({ state, nRequests, heldBytes, freeBytes }: Place) =>
    state === 'ready' && nRequests === 0 && heldBytes + freeBytes >= wantedBytes

/**
 * Numbers to colours, as matplotlib does it: 256 steps, what is outside 0..1 takes the colour at that end.
 */

import { colormapTables } from './colormap-tables.js'

/** `coolwarm` is for signed numbers: its middle is neutral. */
export const colormapNames = ['viridis', 'magma', 'inferno', 'turbo', 'coolwarm', 'grey'] as const
export type ColormapName = (typeof colormapNames)[number]

const STEPS = 256

/** Maps whose middle stands for zero. */
export function isDiverging(name: ColormapName): boolean {
  return name === 'coolwarm'
}

/** Which of the 256 colours stands for `share`, 0..1 from the lowest to the highest. */
export function colourIndex(share: number): number {
  return share <= 0 ? 0 : share >= 1 ? STEPS - 1 : Math.floor(share * STEPS)
}

/** `[256, 3]`: RGB bytes. */
export function colormap(name: ColormapName): Uint8Array {
  if (name === 'grey') return Uint8Array.from({ length: STEPS * 3 }, (_, at) => Math.floor(at / 3))
  return new Uint8Array(Buffer.from(colormapTables[name], 'base64'))
}

/**
 * A sweep cut into pieces that are run one after the other, by whomever: sites (hook points) in order, at each the pictures in order, of each
 * picture its lines. A piece is some lines of one picture, or all lines of some.
 */

import type { StrengthUnit } from '../../interventions/edit.js'
import type { Tensor } from '../../tensor.js'
import { lengthOf } from '../../vectors.js'
import { byNorm, randomDirections } from './random-directions.js'
import type { SweepDirection, SweepInput, SweepLine, SweepOp, SweepPlace, SweepTarget } from './sweep-contract.js'

/** A direction of the request. */
export interface SoughtDirection extends SweepDirection {
  readonly hookPoint: string
  /** The SAE whose feature it is, where that is needed: its place in a list of the caller's. */
  readonly sae?: number
}

export interface SweepSettings {
  readonly op: SweepOp
  readonly unit: StrengthUnit
  readonly directions: readonly SoughtDirection[]
  readonly places: readonly SweepPlace[]
  readonly strengths: readonly number[]
  readonly targets: readonly SweepTarget[]
  readonly answers?: SweepInput['answers']
  readonly nImages: number
  /** Pictures that only collateral is measured on; they come after the others. */
  readonly nCollateral: number
  /** Random directions to compare each direction with. */
  readonly nControls: number
  readonly seed: number
}

/** What runs in one graph. */
export interface SweepSite {
  readonly hookPoint: string
  readonly sae?: number
  /** Of the request, by their places there. */
  readonly own: readonly number[]
  /** The own ones, then the random ones. */
  readonly directions: readonly SweepDirection[]
  /** Of each own direction, the random ones that it is compared with, in `directions`. */
  readonly controls: readonly (readonly number[])[]
}

export interface SweepPlan extends SweepSettings {
  readonly sites: readonly SweepSite[]
}

export function planSweep(settings: SweepSettings): SweepPlan {
  const keys = settings.directions.map(({ hookPoint, sae }) => JSON.stringify([hookPoint, sae]))
  const sites = [...new Set(keys)].map((key): SweepSite => {
    const own = keys.flatMap((each, index) => (each === key ? [index] : []))
    const directions = own.map((index) => settings.directions[index]!)
    const { hookPoint, sae } = directions[0]!
    return { hookPoint, ...(sae !== undefined && { sae }), own, ...withControls(directions, settings) }
  })
  return { ...settings, sites }
}

/** Added directions of equal norm share their random ones; features each have their own, which go as far as the feature at every token. */
function withControls(
  own: readonly SweepDirection[],
  { op, unit, nControls, seed }: SweepSettings,
): Pick<SweepSite, 'directions' | 'controls'> {
  const directions: SweepDirection[] = own.map(({ vector, latent, factor }) => ({
    vector,
    ...(latent !== undefined && { latent }),
    ...(factor !== undefined && { factor }),
  }))
  const controls: (readonly number[])[] = own.map(() => [])
  if (nControls === 0) return { directions, controls }
  const vectors = own.map(({ vector }) => vector)
  const alike = op === 'add' && unit === 'norm' ? [{ norm: 1, members: vectors.map((_, index) => index) }] : byNorm(vectors)
  const groups = op === 'add' ? alike : vectors.map((vector, index) => ({ norm: lengthOf(vector), members: [index] }))
  for (const { norm, members } of groups) {
    const first = directions.length
    const { vector, ...feature } = directions[members[0]!]!
    const drawn = randomDirections(nControls, { seed, length: vector.length, norm })
    directions.push(...drawn.map((each) => ({ ...feature, vector: each })))
    for (const member of members) controls[member] = drawn.map((_, index) => first + index)
  }
  return { directions, controls }
}

/** Some lines of one picture, or all of several. */
export interface SweepPiece {
  readonly site: number
  /** From one picture to another, which is left out. */
  readonly images: readonly [number, number]
  /** The same of the lines of a picture. */
  readonly lines: readonly [number, number]
}

/** Lines of one picture at a site: places in order, at each the directions in order; where collateral is measured, only those of the request. */
function nLines({ sites, places, nImages }: SweepPlan, site: number, image: number): number {
  const { own, directions } = sites[site]!
  return places.length * (image < nImages ? directions.length : own.length)
}

/** Runs from the hook point on; those of the pictures as they are come on top. */
export function nPoints(plan: SweepPlan): number {
  const lines = plan.sites.reduce(
    (sum, _, site) => sum + plan.nImages * nLines(plan, site, 0) + plan.nCollateral * nLines(plan, site, plan.nImages),
    0,
  )
  return lines * plan.strengths.length
}

/** @param most  points and pictures of a piece; one line of more points is one piece all the same */
export function* piecesOf(plan: SweepPlan, most: { readonly points: number; readonly images: number }): Generator<SweepPiece> {
  const linesAtOnce = Math.max(1, Math.floor(most.points / plan.strengths.length))
  for (const site of plan.sites.keys()) {
    for (const [first, end] of [
      [0, plan.nImages],
      [plan.nImages, plan.nImages + plan.nCollateral],
    ] as const) {
      const perImage = nLines(plan, site, first)
      const imagesAtOnce = Math.min(most.images, Math.floor(linesAtOnce / perImage))
      for (let image = first; image < end; image += Math.max(1, imagesAtOnce)) {
        if (imagesAtOnce >= 1) yield { site, images: [image, Math.min(image + imagesAtOnce, end)], lines: [0, perImage] }
        else
          for (let line = 0; line < perImage; line += linesAtOnce) {
            yield { site, images: [image, image + 1], lines: [line, Math.min(line + linesAtOnce, perImage)] }
          }
      }
    }
  }
}

export function nPointsOf({ strengths }: SweepPlan, { images, lines }: SweepPiece): number {
  return (images[1] - images[0]) * (lines[1] - lines[0]) * strengths.length
}

/** @param pixels  of the piece's pictures */
export function pieceInput(plan: SweepPlan, piece: SweepPiece, pixels: Tensor<'float32'>): SweepInput {
  const { op, unit, places, strengths, targets, answers } = plan
  const { hookPoint, directions } = plan.sites[piece.site]!
  const lines = [...linesOf(plan, piece)].map((line) => ({ ...line, image: line.image - piece.images[0] }))
  return { pixels, hookPoint, op, unit, directions, places, lines, strengths, targets, ...(answers && { answers }) }
}

/** Pictures as the sweep counts them. */
export function* linesOf(plan: SweepPlan, { site, images, lines }: SweepPiece): Generator<SweepLine> {
  const { own, directions } = plan.sites[site]!
  for (let image = images[0]; image < images[1]; image++) {
    const perPlace = image < plan.nImages ? directions.length : own.length
    for (let line = lines[0]; line < lines[1]; line++) {
      yield { image, direction: line % perPlace, place: Math.floor(line / perPlace) }
    }
  }
}

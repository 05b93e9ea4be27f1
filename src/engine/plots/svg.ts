/**
 * SVG documents as text: the same numbers give the same text, and a screen reader is told what is to be seen.
 */

export interface SvgAbout {
  readonly width: number
  readonly height: number
  readonly title: string
  /** The picture in words. */
  readonly description: string
}

/** @param parts  well-formed elements, one a line */
export function svgDocument({ width, height, title, description }: SvgAbout, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="11" fill="#333">`,
    `<title>${escaped(title)}</title>`,
    `<desc>${escaped(description)}</desc>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n')
}

/** Hundredths of a pixel are finer than anything shows. */
export const rounded = (place: number) => Math.round(place * 100) / 100

/** A text of at most so many characters, its end left out. */
export function shortened(text: string, most: number): string {
  const characters = [...text]
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join('')}…`
}

/** Text as it stands in a document; what XML has no way to say is left out. */
export function escaped(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML does not allow
  const allowed = text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|\p{Surrogate}/gu, '')
  return allowed.replace(/[&<>"]/g, (character) => `&#${character.codePointAt(0)};`)
}

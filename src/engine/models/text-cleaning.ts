/**
 * What open_clip does to a text before tokenizing it: ftfy, HTML entities twice, whitespace, lower case. Of ftfy everything that is a rule is
 * here (entities, C1 controls, ligatures, character width, quotes, terminal escapes, control characters, NFC), in its order; its guess at
 * text that was decoded with a wrong encoding is not.
 * @see open_clip tokenizer.py (basic_clean, whitespace_clean), ftfy 6 (fix_and_explain)
 */

import { decodeHTML, decodeHTMLStrict } from 'entities'

/** As Python's `str.split()` sees it, which is not JavaScript's `\s`. */
const pythonWhitespace = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu

/** Ligatures and digraphs that ftfy takes apart; `\u017ft` and `\u02bcn` are its choices. */
const ligatures: Readonly<Record<string, string>> = {
  '\u0132': 'IJ',
  '\u0133': 'ij',
  '\u0149': '\u02bcn',
  '\u01f1': 'DZ',
  '\u01f2': 'Dz',
  '\u01f3': 'dz',
  '\u01c4': 'D\u017d',
  '\u01c5': 'D\u017e',
  '\u01c6': 'd\u017e',
  '\u01c7': 'LJ',
  '\u01c8': 'Lj',
  '\u01c9': 'lj',
  '\u01ca': 'NJ',
  '\u01cb': 'Nj',
  '\u01cc': 'nj',
  '\ufb00': 'ff',
  '\ufb01': 'fi',
  '\ufb02': 'fl',
  '\ufb03': 'ffi',
  '\ufb04': 'ffl',
  '\ufb05': '\u017ft',
  '\ufb06': 'st',
}
const ligature = new RegExp(`[${Object.keys(ligatures).join('')}]`, 'gu')

/** A fix may make work for another; ftfy repeats until nothing changes. */
const MAX_ROUNDS = 8

export function cleanText(text: string): string {
  const fixed = decodeHTML(decodeHTML(fixText(text)))
  return fixed.replace(pythonWhitespace, ' ').trim().toLowerCase()
}

function fixText(text: string): string {
  let fixed = wellFormed(text)
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const next = fixOnce(fixed)
    if (next === fixed) break
    fixed = next
  }
  return fixed
}

/** With U+FFFD for half of a surrogate pair. */
export function wellFormed(text: string): string {
  return Buffer.from(text, 'utf8').toString('utf8')
}

/** Windows-1252's characters for 0x80 to 0x9f; the five that it leaves open stay. Written out: Node's decoder of that name is Latin-1. */
const windows1252 =
  '\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f' +
  '\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178'

const terminalEscape = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*[a-zA-Z]`, 'g')
/** C0 controls but for tab, newline, form feed and carriage return; delete; and invisible format characters. */
const invisible = /(?![\t\n\f\r\u0080-\u009f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffb]/gu

function fixOnce(text: string): string {
  return (text.includes('<') ? text : decodeHTMLStrict(text))
    .replace(/[\u0080-\u009f]/g, (control) => windows1252[control.charCodeAt(0) - 0x80]!)
    .replace(ligature, (found) => ligatures[found]!)
    .replace(/[\uff01-\uffef]/g, (wide) => wide.normalize('NFKC'))
    .replaceAll('\u3000', ' ')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/\r\n?|[\u2028\u2029\u0085]/g, '\n')
    .replace(terminalEscape, '')
    .replace(invisible, '')
    .normalize('NFC')
}

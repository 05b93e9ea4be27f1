/**
 * README examples as data: each `sh` block with a curl command, and the `json` block that shows its answer.
 */

export interface Example {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** A request body, or the file that holds it. */
  readonly body: { readonly text: string } | { readonly file: string } | undefined
  readonly answer: unknown
}

export function examplesOf(markdown: string): Example[] {
  return [...markdown.matchAll(/```sh\n(curl [\s\S]*?)\n```\n```json\n([\s\S]*?)\n```/g)].map(([, command, answer]) => ({
    ...parseCurl(command!),
    answer: JSON.parse(answer!),
  }))
}

/** The few options the README uses: `-s`, `-H`, `-d`, `--data-binary @file`, and the address. */
function parseCurl(command: string): Omit<Example, 'answer'> {
  const words = [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)
  const headers: Record<string, string> = {}
  let body: Example['body']
  let path = ''
  for (let at = 1; at < words.length; at++) {
    const word = words[at]!
    if (word === '-s') continue
    else if (word === '-H') {
      const [name, value] = words[++at]!.split(': ') as [string, string]
      headers[name] = value
    } else if (word === '-d') body = { text: words[++at]! }
    else if (word === '--data-binary') body = { file: words[++at]!.slice(1) }
    else path = new URL(`http://${word}`).pathname
  }
  return { path, headers, body }
}

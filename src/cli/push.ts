/** `refract push`. */

import { parseTarget } from '../catalog/import/source.js'
import { pushFolder } from '../catalog/push/push-folder.js'
import type { Command } from './command.js'
import { progressDisplay } from './progress.js'

export const pushCommand: Command = {
  name: 'push',
  positionals: ['<folder>', '<owner/name>[@branch]'],
  summary: 'Push a folder (a model, an SAE, a run) to a repository of the hub.',
  details: [
    'One commit with everything in the folder but what is hidden. The repository and the branch are made where they are not there; files that',
    'are there already stay. Wants a token that may write (HF_TOKEN). What breaks off leaves the repository as it was: push again.',
  ].join('\n'),
  options: {
    private: { type: 'boolean', meaning: 'make the repository private; refused for one that is there and public' },
    message: { type: 'string', value: '<text>', meaning: "the commit's first line; default: the folder's name" },
    json: { type: 'boolean', meaning: 'print what was pushed as JSON' },
  },
  async run({ config, values, positionals: [folder = '', target = ''], out, err, signal }) {
    const progress = progressDisplay(err)
    try {
      const pushed = await pushFolder({
        folder,
        ...parseTarget(target),
        private: values.private === true,
        ...(typeof values.message === 'string' && { title: values.message }),
        config,
        onProgress: progress.show,
        signal,
      })
      progress.end()
      const { repo, branch, commit, files, url } = pushed
      const said = `Pushed ${files.length} ${files.length === 1 ? 'file' : 'files'} to ${repo}@${branch} (${commit.slice(0, 12)})\n${url}\n`
      out.write(values.json ? `${JSON.stringify(pushed, null, 2)}\n` : said)
    } finally {
      progress.end()
    }
  },
}

/** `refract serve`, which is `npm start`. */

import type { Command } from './command.js'

export const serveCommand: Command = {
  name: 'serve',
  positionals: [],
  summary: 'Serve REST and GraphQL (this is npm start).',
  details: 'Settings are environment variables, such as PORT=9000 npm start; docs/configuration.md lists them.',
  options: {},
  // the other commands do not wait for the server's packages to load
  run: async (context) => (await import('./run-server.js')).runServer(context),
}

/** Run by tests as a process of its own: `refract serve`. */

import { main } from '../../src/cli/main.js'

process.exitCode = await main(['serve'])

/** `npm run build`: everything that `npm start` would prepare, and nothing else. */

import { preparedThen } from './prepare.mjs'

await preparedThen({ build: true }, () => {})

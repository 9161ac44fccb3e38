// Builds src/ into one minified script, and tells Envoy's configuration which version it serves.
//
//     node build.mjs FOLDER        FOLDER has the envoy.yaml that is adapted, and gets rte.js
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const folder = process.argv[2]
const { version } = JSON.parse(readFileSync(join(here, 'package.json'), 'utf8'))

const script = join(folder, 'rte.js')
await build({
  entryPoints: [join(here, 'src/tag.ts')],
  outfile: script,
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2019',
  charset: 'utf8',
  legalComments: 'none',
  define: { VERSION: JSON.stringify(version) },
  banner: { js: `/*! RTE browser tag ${version}, Apache-2.0 */` },
})

const hash = createHash('sha256').update(readFileSync(script)).digest('hex').slice(0, 12)
const configuration = join(folder, 'envoy.yaml')
const before = readFileSync(configuration, 'utf8')
const after = before.replace(/(&tag_version )'W\/"[^"]*"'/, `$1'W/"${version}-${hash}"'`)
if (!after.includes(`${version}-${hash}`)) throw new Error(`${configuration} names no &tag_version`)
writeFileSync(configuration, after)

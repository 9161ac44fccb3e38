// Both SDKs of this family make all kinds of calls. Arguments: name of the SDK, address of RTE, visitor.
import { Analytics as SegmentAnalytics } from '@segment/analytics-node'
import RudderAnalytics from '@rudderstack/rudder-sdk-node'

const [sdk, url, visitor] = process.argv.slice(2)
const errors = []

function segment() {
  const client = new SegmentAnalytics({ writeKey: 'wk1', host: url, path: '/v1/batch', maxEventsInBatch: 20 })
  client.on('error', (error) => errors.push(String(error.reason ?? error.code ?? error)))
  return { client, close: () => client.closeAndFlush() }
}

function rudder() {
  const Client = RudderAnalytics.default ?? RudderAnalytics
  const client = new Client('wk1', { dataPlaneUrl: url, flushAt: 20, gzip: true })
  const failed = (error) => error && errors.push(String(error))
  // One flush sends one batch.
  const close = async () => {
    for (let batch = 0; batch < 5; batch++) await client.flush(failed)
  }
  return { client, close }
}

const { client, close } = sdk === 'segment' ? segment() : rudder()
const known = { anonymousId: visitor, userId: `c-${visitor}` }
client.page({ anonymousId: visitor, name: 'Home', properties: { url: 'https://shop.example/?utm_source=news' } })
client.identify({ ...known, traits: { plan: 'pro' } })
client.group({ ...known, groupId: 'g1', traits: { name: 'Acme' } })
client.screen({ ...known, name: 'Start' })
for (let number = 0; number < 50; number++) {
  client.track({ ...known, event: 'Product Viewed', properties: { product_id: `p-${number}`, price: 1.5 } })
}
client.track({ ...known, event: 'Product Added', properties: { product_id: 'p-1', price: 1.5, quantity: 2 } })
client.alias({ previousId: visitor, userId: `c-${visitor}` })
await close()
process.stdout.write(JSON.stringify({ errors }))
process.exit(0)

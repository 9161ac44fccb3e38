// @snowplow/node-tracker. Arguments: method, address of RTE, visitor.
import snowplow from '@snowplow/node-tracker'

const { newTracker, buildPageView, buildPagePing, buildStructEvent, buildSelfDescribingEvent } = snowplow
const [method, url, visitor] = process.argv.slice(2)
const errors = []
const tracker = newTracker(
  { namespace: 'sp', appId: 'shop', encodeBase64: method === 'get' },
  { endpoint: url, eventMethod: method, bufferSize: 10, onRequestFailure: (failure) => errors.push(String(failure.status)) },
)
tracker.setDomainUserId(visitor)
tracker.setUserId(`c-${visitor}`)
tracker.setPlatform('web')
const schema = (name) => `iglu:com.snowplowanalytics.snowplow.ecommerce/${name}/jsonschema/1-0-0`
const product = { id: 'p-1', name: 'Monopoly', category: 'Games', price: 4, currency: 'EUR', quantity: 2 }
const context = [product, { ...product, id: 'p-2', price: 1, quantity: 1 }].map((data) => ({ schema: schema('product'), data }))
tracker.track(buildPageView({ pageUrl: 'https://shop.example/?utm_source=news', pageTitle: 'Home' }))
tracker.track(buildPagePing({ pageUrl: 'https://shop.example/', pageTitle: 'Home' }))
tracker.track(buildStructEvent({ category: 'shop', action: 'share', value: 2.5 }))
for (const type of ['product_view', 'add_to_cart']) {
  const event = { schema: schema('snowplow_ecommerce_action'), data: { type } }
  tracker.track(buildSelfDescribingEvent({ event }), context)
}
await tracker.flush()
process.stdout.write(JSON.stringify({ errors }))

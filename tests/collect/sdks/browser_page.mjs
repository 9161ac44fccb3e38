// What a page loads: the three browser SDKs, as a bundler makes one file of them.
import { AnalyticsBrowser } from '@segment/analytics-next'
import { RudderAnalytics } from '@rudderstack/analytics-js/bundled' // The variant that loads no code from the vendor.
import { newTracker, trackPageView, trackSelfDescribingEvent, trackStructEvent, setUserId, enableActivityTracking } from '@snowplow/browser-tracker'
import { SnowplowEcommercePlugin, trackAddToCart, trackProductView } from '@snowplow/browser-plugin-snowplow-ecommerce'

const product = { product_id: 'p-1', name: 'Monopoly', category: 'Games', price: 4, quantity: 2 }

// Each returns the id of the visitor, which the SDK made up.
globalThis.sdks = {
  async segment(url, strategy) {
    const host = new URL(url).host
    const own = { apiHost: `${host}/v1`, protocol: 'http', deliveryStrategy: strategy ? { strategy } : undefined }
    const [analytics] = await AnalyticsBrowser.load({ writeKey: 'wk1', cdnURL: url }, { integrations: { 'Segment.io': own } })
    await analytics.page('Home')
    await analytics.track('Product Viewed', product)
    await analytics.identify('c-' + analytics.user().anonymousId(), { plan: 'pro' })
    await analytics.track('Product Added', product)
    return analytics.user().anonymousId()
  },

  async rudder(url) {
    const analytics = new RudderAnalytics()
    analytics.load('wk1', url, { configUrl: url, plugins: [], storage: { encryption: { version: 'legacy' } } })
    await new Promise((resolve) => analytics.ready(resolve))
    analytics.page('Home')
    analytics.track('Product Viewed', product)
    const visitor = analytics.getAnonymousId()
    analytics.identify('c-' + visitor, { plan: 'pro' })
    analytics.track('Product Added', product)
    return visitor
  },

  async snowplow(url, method, anonymous) {
    const tracker = newTracker('sp-' + method + anonymous, url, {
      appId: 'shop',
      eventMethod: method,
      anonymousTracking: anonymous ? { withSessionTracking: true, withServerAnonymisation: true } : false,
      plugins: [SnowplowEcommercePlugin()],
      contexts: { session: true },
    })
    const to = [tracker.id]
    const line = { id: 'p-1', name: 'Monopoly', category: 'Games', price: 4, quantity: 2, currency: 'EUR' }
    trackPageView({}, to)
    trackProductView(line, to)
    if (!anonymous) setUserId('c-' + tracker.getDomainUserId(), to)
    trackAddToCart({ products: [line, { ...line, id: 'p-2', price: 1, quantity: 1 }], total_value: 9, currency: 'EUR' }, to)
    trackStructEvent({ category: 'shop', action: 'share' }, to)
    return anonymous ? tracker.getDomainUserInfo()[6] : tracker.getDomainUserId()
  },
}

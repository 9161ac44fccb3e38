// The package cloudevents. Arguments: nothing, address of RTE, visitor.
import { CloudEvent, HTTP, emitterFor, httpTransport, Mode } from 'cloudevents'

const [, url, visitor] = process.argv.slice(2)
const errors = []
const event = (id) =>
  new CloudEvent({
    id,
    source: '/shop',
    type: 'com.example.add_to_cart',
    subject: visitor,
    customerid: `c-${visitor}`,
    data: { item_id: 'p-1', price: 2.5, quantity: 2 },
  })

for (const [id, mode] of [['1', Mode.BINARY], ['2', Mode.STRUCTURED]]) {
  const answer = await emitterFor(httpTransport(`${url}/cloudevents`), { mode })(event(id))
  if (answer.body !== '{}') errors.push(answer.body)
}
const batch = ['3', '4'].map((id) => JSON.parse(HTTP.structured(event(id)).body))
const headers = { 'content-type': 'application/cloudevents-batch+json' }
const answer = await fetch(`${url}/cloudevents`, { method: 'POST', headers, body: JSON.stringify(batch) })
if (answer.status !== 200) errors.push(await answer.text())
process.stdout.write(JSON.stringify({ errors }))

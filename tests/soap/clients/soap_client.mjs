// The package `soap` (Node.js): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor.
import { createRequire } from "node:module";

const soap = createRequire(process.cwd() + "/")("soap");
const [url, version, visitor] = process.argv.slice(2);
// `attributes` is a field here; by default the package takes a member of that name for attributes of XML.
const options = { forceSoap12Headers: version === "1.2", attributesKey: "$attributes" };
const client = await soap.createClientAsync(`${url}?wsdl&soap=${version}`, options);

const event = {
  eventId: "e-1",
  name: "view_item",
  visitorId: visitor,
  channel: "web <&> \u00e9",
  properties: { fields: [{ key: "price", value: { numberValue: 9.5 } }] },
  customerId: null,
};
const events = [event, { ...event, eventId: "e-2" }];
const [ingested] = await client.IngestEventsAsync({ request: { events, wait: "WAIT_APPLIED" } });
const [got] = await client.GetSessionAsync({ request: { visitorId: visitor } });
const session = got.result.session;
const [listed] = await client.ListSessionsAsync({ request: { filter: `session.visitor_id == "${visitor}"` } });
const attributes = {
  fields: [
    { key: "tier", value: { stringValue: "gold" } },
    { key: "vip", value: { boolValue: true } },
  ],
};
const [updated] = await client.UpdateSessionAsync({ request: { sessionId: session.sessionId, attributes } });
const written = Object.fromEntries(updated.result.session.attributes.fields.map((field) => [field.key, field.value]));
let failure;
try {
  await client.GetSessionAsync({ request: { visitorId: `no-${visitor}` } });
} catch (error) {
  failure = error.root.Envelope.Body.Fault;
}
const detail = (failure.detail ?? failure.Detail).ServiceFaultDetail;
console.log(
  JSON.stringify({
    accepted: ingested.result.acceptedCount,
    channel: session.channel,
    events: session.eventCount,
    listed: listed.result.sessions.length === 1 && listed.result.sessions[0].sessionId === session.sessionId,
    tier: written.tier.stringValue,
    vip: written.vip.boolValue,
    code: (failure.faultcode ?? failure.Code.Value).split(":").pop(),
    reason: detail.reason,
    field: detail.field,
    retryable: String(detail.retryable) === "true",
  }),
);

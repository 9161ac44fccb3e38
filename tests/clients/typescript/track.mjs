// Calls the client as a program does, and prints what came of it as JSON.
// Usage: node track.mjs URL VISITOR NOBODY
import { NotDelivered, QueueFull, RteError } from "rte-client";
import { connect } from "rte-client/node";

const [url, visitor, nobody] = process.argv.slice(2);
const found = {};

const told = [];
const client = connect(url, { track: { batchEventsMax: 100, onRejected: (event, verdict) => told.push(verdict.field) } });
for (let number = 0; number < 730; number += 1) {
  client.track("view_item", { visitorId: visitor, properties: { item_id: `SKU-${number}`, price: 1.5, tags: ["a", null] } });
}
client.track("", { visitorId: visitor });
for (let again = 0; again < 3; again += 1) client.track("login", { visitorId: visitor, eventId: "once" });
await client.waitApplied(await client.flush(60_000));
found.events = (await client.getSession({ visitorId: visitor }, { fields: ["event_count"] })).eventCount;
found.told = told;
found.stats = client.trackStats();

const answer = await client.ingest([{ name: "login", visitorId: visitor }, { name: "login", visitorId: "" }], { wait: "applied" });
found.ingested = [answer.acceptedCount, answer.rejectedCount, answer.verdicts[0].field];
const written = await client.updateCustomer(visitor, { tier: "gold" }, { source: "test" });
found.tier = written.attributes.tier.value.kind.value;
const session = await client.getSession({ visitorId: visitor });
found.ended = (await client.endSession(session.sessionId)).state;
found.models = (await client.raw.models.listModels({})).models.length > 0;
try {
  await client.getSession({ customerId: `${visitor}-not` }, { timeoutMs: 60_000 });
} catch (error) {
  found.error = [error instanceof RteError, error.reason, error.field];
}
const listed = [];
for await (const each of client.listSessions(`session.visitor_id == '${visitor}'`, { state: "any", pageSize: 1 })) listed.push(each.visitorId);
found.listed = listed;
await client.close();
try {
  client.track("login", { visitorId: visitor });
} catch (error) {
  found.closed = error.message;
}

const away = connect(nobody, { track: { eventsMax: 3 } });
for (let number = 0; number < 3; number += 1) away.track("login", { visitorId: visitor });
try {
  away.track("login", { visitorId: visitor });
} catch (error) {
  found.full = error instanceof QueueFull;
}
try {
  await away.close(300);
} catch (error) {
  found.undelivered = [error instanceof NotDelivered, error.held, error.events.length, error.events[0].eventId.length];
}
console.log(JSON.stringify(found));

// Tracks until it is told to end, over whatever happens to the server, and prints how many events it tracked.
// Usage: node restart.mjs URL VISITOR; a line on its input ends it, and each batch that is durable prints a line.
import { connect } from "rte-client/node";

const [url, visitor] = process.argv.slice(2);
const client = connect(url, { track: { backOffMsMax: 500 } });
let isEnding = false;
process.stdin.once("data", () => (isEnding = true));
let said = 0;
while (!isEnding) {
  client.track("login", { visitorId: visitor });
  const { delivered } = client.trackStats();
  if (delivered >= said + 200) console.log(`delivered ${(said = delivered)}`);
  await new Promise((resolve) => setTimeout(resolve, 2));
}
await client.close(120_000);
const stats = client.trackStats();
console.log(`ended ${stats.tracked} ${stats.delivered} ${stats.attemptsFailed}`);
process.exit(0);

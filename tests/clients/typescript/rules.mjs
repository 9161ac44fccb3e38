// What the client does by itself, without a server: prints a line per rule.
import { create } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { createRouterTransport } from "@connectrpc/connect";
import { RteClient } from "rte-client";
import { connect } from "rte-client/node";
import { SessionService, WatchSessionsResponse_Type } from "rte-client/v1/session_service";
import { ErrorInfoSchema } from "./package/dist/gen/google/rpc/error_details_pb.js";
import { Tracker } from "./package/dist/tracker.js";

// Two batches are on their way; the one that stands first in the journal is answered last.
const answers = [];
const send = () => new Promise((resolve) => answers.push(resolve));
const tracker = new Tracker(send, { batchEventsMax: 1, senders: 2 });
tracker.track({ name: "login", visitorId: "ada" });
tracker.track({ name: "login", visitorId: "ada" });
const flushed = tracker.flush(60_000);
const answer = (position) => ({ position, acceptedCount: 1, rejectedCount: 0, verdicts: [] });
answers[1](answer("0-101"));
answers[0](answer("0-99"));
console.log(await flushed);

for (const url of ["http://shop.example:8080", "https://shop.example", "http://127.0.0.1:8080"]) {
  try {
    connect(url, { token: "secret" });
    console.log("taken");
  } catch {
    console.log("refused");
  }
}

// The last message of a watch tells why it ends, with its details.
const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: "rte.v1", reason: "SESSION_NOT_FOUND" }))];
const transport = createRouterTransport(({ service }) => {
  service(SessionService, {
    async *watchSessions() {
      yield { type: WatchSessionsResponse_Type.ERROR, error: { code: 5, message: "gone", details } };
    },
  });
});
try {
  for await (const _ of new RteClient(transport).watchSessions());
} catch (failure) {
  console.log(failure.reason);
}

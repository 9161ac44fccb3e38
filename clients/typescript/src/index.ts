/** What Node.js and browsers share. `connect` stands in `rte-client/node` and `rte-client/web`. */

export {
  RteClient,
  type Change,
  type ClientOptions,
  type ReadOptions,
  type SessionKey,
  type State,
} from "./client.js";
export { RteError, type Reason } from "./errors.js";
export { NotDelivered, QueueFull, type NewEvent, type TrackOptions, type TrackStats } from "./tracker.js";
export type { Customer } from "./gen/rte/v1/customer_pb.js";
export type { Session } from "./gen/rte/v1/session_pb.js";

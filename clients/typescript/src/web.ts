/** Browsers: gRPC-Web. */

import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { DEADLINE_MS, interceptors, RteClient, type ClientOptions } from "./client.js";

/**
 * Returns a client of a server; it connects with the first call.
 *
 * @param url Of the public port, which must allow the page's origin (`edge.allowed_origins`).
 */
export function connect(url: string, options: ClientOptions = {}): RteClient {
  return new RteClient(
    createGrpcWebTransport({ baseUrl: url, defaultTimeoutMs: DEADLINE_MS, interceptors: interceptors(url, options) }),
    options,
  );
}

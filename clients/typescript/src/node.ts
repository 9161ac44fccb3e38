/** Node.js: gRPC over HTTP/2. */

import { createGrpcTransport } from "@connectrpc/connect-node";
import type { SecureClientSessionOptions } from "node:http2";
import { DEADLINE_MS, interceptors, RteClient, type ClientOptions } from "./client.js";

/**
 * Returns a client of a server; it connects with the first call.
 *
 * @param url Of the public port: `http://localhost:8080`, or `https://...` for TLS.
 * @param options `tls` says whom to trust, as Node.js has it (`ca`, `cert`, `key`).
 */
export function connect(url: string, options: ClientOptions & { tls?: SecureClientSessionOptions } = {}): RteClient {
  const transport = createGrpcTransport({
    baseUrl: url,
    defaultTimeoutMs: DEADLINE_MS,
    interceptors: interceptors(url, options),
    pingIntervalMs: 30_000,
    ...(options.tls ? { nodeOptions: options.tls } : {}),
  });
  return new RteClient(transport, options);
}

/** Failures of calls, with the reason that the server gives. */

import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/rte/v1/error_reason_pb.js";

/** Name of a reason of the contract, such as `SESSION_NOT_FOUND`. */
export type Reason = keyof typeof ErrorReason;

const DOMAIN = "rte.v1";

/** A call failed. Decide by `reason`, or by `code` where there is none. */
export class RteError extends Error {
  override readonly name = "RteError";

  private constructor(
    /** What is wrong, in a sentence, with the value and the limit. */
    message: string,
    /** The status code. */
    readonly code: Code,
    /** Name of the reason; empty if nothing of RTE answered. A newer server may give one that `Reason` does not have. */
    readonly reason: Reason | (string & {}) | "",
    /** What else the reason says: `field`, `value`, `limit`. */
    readonly metadata: Readonly<Record<string, string>>,
    /** How long to wait before the same call has a chance, milliseconds; undefined: not by waiting. */
    readonly retryAfterMs: number | undefined,
    cause: unknown,
  ) {
    super(message, { cause });
  }

  /** The field that caused it; empty where no one field did. */
  get field(): string {
    return this.metadata["field"] ?? "";
  }

  /** Returns the RteError of whatever a call has thrown. */
  static from(failure: unknown): RteError {
    if (failure instanceof RteError) return failure;
    const error = ConnectError.from(failure);
    const info = error.findDetails(ErrorInfoSchema).find((each) => each.domain === DOMAIN);
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    const retryAfterMs = delay === undefined ? undefined : Number(delay.seconds) * 1000 + delay.nanos / 1e6;
    return new RteError(error.rawMessage, error.code, info?.reason ?? "", info?.metadata ?? {}, retryAfterMs, failure);
  }

  /** Whether the same request will never be taken, whatever is waited for. */
  get isFinal(): boolean {
    return this.code === Code.InvalidArgument || this.reason === "REQUEST_TOO_LARGE";
  }
}

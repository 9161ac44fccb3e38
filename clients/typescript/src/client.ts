/** The client: the same for Node.js and for browsers, over whatever transport they bring. */

import { create, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, FieldMaskSchema, timestampFromDate, timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Client, type Interceptor, type Transport } from "@connectrpc/connect";
import { RteError } from "./errors.js";
import { CollectorService } from "./gen/rte/v1/collector_service_pb.js";
import type { Customer } from "./gen/rte/v1/customer_pb.js";
import { CustomerService } from "./gen/rte/v1/customer_service_pb.js";
import { EventService, Wait, type IngestEventsResponse } from "./gen/rte/v1/event_service_pb.js";
import { ModelService } from "./gen/rte/v1/model_service_pb.js";
import type { Session } from "./gen/rte/v1/session_pb.js";
import {
  SessionService,
  StateFilter,
  WatchSessionsResponse_Type,
  type WatchSessionsResponse,
  type GetSessionRequestSchema,
} from "./gen/rte/v1/session_service_pb.js";
import { newId } from "./ids.js";
import { pauseMs, sleep } from "./pauses.js";
import { messageOf, Tracker, type NewEvent, type TrackOptions, type TrackStats } from "./tracker.js";

/** How long a call may take by default, all attempts together, milliseconds. */
export const DEADLINE_MS = 10_000;
const DELIVERY_MS_MAX = 30_000;
const ATTEMPTS_MAX = 4;
const BREAK_MS_MAX = 300_000;
const NO_SESSION = "0".repeat(32);

// Another attempt of these may find its own trace: a changed etag, weights under a new number.
const ONCE = new Set(["UpdateCustomer", "RollBackWeights"]);
const PASSING = new Set([Code.Unavailable, Code.ResourceExhausted, Code.DeadlineExceeded, Code.Internal, Code.Unknown]);

/** Options of a connection. */
export interface ClientOptions {
  /** Sent as `authorization: Bearer ...`, without TLS only to this machine; a function is asked for each call. */
  token?: string | (() => string);
  /** How `track` works. */
  track?: TrackOptions;
}

/** By which id a session is chosen: exactly one. */
export type SessionKey =
  | { sessionId: string }
  | { visitorId: string }
  | { customerId: string }
  | { clientSessionId: string };

/** What any read takes. */
export interface ReadOptions {
  /** Paths of a session, such as `event_count` or `attributes.basket_value`. Default: all. */
  fields?: readonly string[];
  /** Waits until the state has reached this position. */
  minPosition?: string;
  /** All attempts together, milliseconds. */
  timeoutMs?: number;
}

export type State = "active" | "closed" | "any";
const STATES = { active: StateFilter.ACTIVE, closed: StateFilter.CLOSED, any: StateFilter.ANY } as const;

/** One change that a watch tells. */
export type Change =
  | { kind: "reset" }
  | { kind: "upsert"; sessionId: string; session: Session }
  | { kind: "remove"; sessionId: string }
  | { kind: "synced" };

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/**
 * Returns what every transport of this package calls through: the token, and other attempts where they are safe. Throws an Error
 * for a token that would leave this machine in plain text.
 */
export function interceptors(url: string, options: ClientOptions): Interceptor[] {
  if (options.token !== undefined && options.token !== "") {
    const { protocol, hostname } = new URL(url);
    if (protocol !== "https:" && !LOOPBACK.test(hostname)) throw new Error(`a token is sent by https, or to this machine; not to ${url}`);
  }
  const authorize: Interceptor = (next) => (request) => {
    const token = typeof options.token === "function" ? options.token() : options.token;
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  const retry: Interceptor = (next) => async (request) => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await next(request);
      } catch (failure) {
        const error = RteError.from(failure);
        const passes = error.code === Code.Unavailable || error.code === Code.ResourceExhausted;
        if (!passes || request.stream || ONCE.has(request.method.name) || attempt === ATTEMPTS_MAX - 1) throw failure;
        await sleep(pauseMs(attempt, 2_000, error.retryAfterMs), request.signal);
        if (request.signal.aborted) throw failure;
      }
    }
  };
  return [retry, authorize];
}

/** A client of a server. Every method rejects with an RteError. Made by `connect` of `rte-client/node` or `rte-client/web`. */
export class RteClient {
  /** The generated clients, for whatever has no method here; they reject with a ConnectError. */
  readonly raw: {
    readonly events: Client<typeof EventService>;
    readonly sessions: Client<typeof SessionService>;
    readonly customers: Client<typeof CustomerService>;
    readonly models: Client<typeof ModelService>;
    readonly collectors: Client<typeof CollectorService>;
  };
  private readonly tracker: Tracker;

  constructor(transport: Transport, options: ClientOptions = {}) {
    this.raw = {
      events: createClient(EventService, transport),
      sessions: createClient(SessionService, transport),
      customers: createClient(CustomerService, transport),
      models: createClient(ModelService, transport),
      collectors: createClient(CollectorService, transport),
    };
    // The time of this attempt, by which the server corrects the clock of this machine.
    this.tracker = new Tracker(
      (events) => this.raw.events.ingestEvents({ events, sentTime: timestampNow(), wait: Wait.DURABLE }),
      options.track,
    );
  }

  /**
   * Sends an event some time soon, in a batch with others, and returns its id. It is held until the server has it, over
   * failures and restarts, and counts once. Throws QueueFull where there is no room, and an Error after `close`.
   */
  track(name: string, event: Omit<NewEvent, "name">): string {
    return this.tracker.track({ name, ...event });
  }

  /** Resolves when every tracked event is durable or refused, with the latest position. Rejects with NotDelivered. */
  flush(timeoutMs = DELIVERY_MS_MAX): Promise<string> {
    return this.tracker.flush(timeoutMs);
  }

  /** Delivers what was tracked, then stops. Rejects with NotDelivered, which has the events. */
  close(timeoutMs = DELIVERY_MS_MAX): Promise<void> {
    return this.tracker.close(timeoutMs);
  }

  /** Returns what became of tracked events so far. */
  trackStats(): TrackStats {
    return this.tracker.stats();
  }

  /** Sends a batch at once; the answer tells what became of each event that was not plainly accepted. */
  ingest(
    events: readonly NewEvent[],
    options: { wait?: "durable" | "applied"; returnSessions?: boolean; requestId?: string; timeoutMs?: number } = {},
  ): Promise<IngestEventsResponse> {
    const request = {
      events: events.map(messageOf),
      wait: options.wait === "applied" ? Wait.APPLIED : Wait.DURABLE,
      returnSessions: options.returnSessions ?? false,
      requestId: options.requestId ?? "",
    };
    return translated(this.raw.events.ingestEvents(request, deadline(options.timeoutMs)));
  }

  /**
   * Returns a session by exactly one of its ids; rejects with the reason SESSION_NOT_FOUND. `merged`, by customer: all active
   * sessions of the customer as one, those of linked visitors included.
   */
  async getSession(key: SessionKey, options: ReadOptions & { customerMaxAgeMs?: number; merged?: boolean } = {}): Promise<Session> {
    const [[name, value] = ["", ""]] = Object.entries(key);
    const age = options.customerMaxAgeMs;
    const request: MessageInitShape<typeof GetSessionRequestSchema> = {
      key: { case: name, value } as never,
      minPosition: options.minPosition ?? "",
      merged: options.merged ?? false,
      ...mask(options.fields),
      ...(age === undefined ? {} : { customerMaxAge: durationFromMs(age) }),
    };
    return present((await translated(this.raw.sessions.getSession(request, deadline(options.timeoutMs)))).session);
  }

  /** Yields the sessions that match a CEL filter, page by page. */
  async *listSessions(
    filter = "",
    options: ReadOptions & { orderBy?: string; state?: State; pageSize?: number } = {},
  ): AsyncGenerator<Session, void, undefined> {
    let pageToken = "";
    do {
      const page = await translated(
        this.raw.sessions.listSessions(
          {
            filter,
            orderBy: options.orderBy ?? "",
            pageSize: options.pageSize ?? 500,
            pageToken,
            state: STATES[options.state ?? "active"],
            minPosition: options.minPosition ?? "",
            ...mask(options.fields),
          },
          deadline(options.timeoutMs),
        ),
      );
      yield* page.sessions;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /**
   * Yields the sessions that match, then each change, without an end, and goes on by itself after a break; where the server
   * cannot go on, a `reset` comes first. Leave the loop, or abort the signal, to end it.
   */
  async *watchSessions(
    filter = "",
    options: Pick<ReadOptions, "fields"> & { state?: State; intervalMsMin?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Change, void, undefined> {
    let resumeToken = "";
    let told = false;
    let owesReset = false;
    let brokenSince: number | undefined;
    for (let breaks = 0; !options.signal?.aborted; ) {
      const leaving = new AbortController();
      const leave = () => leaving.abort();
      options.signal?.addEventListener("abort", leave);
      try {
        const request = {
          filter,
          state: STATES[options.state ?? "active"],
          resumeToken,
          intervalMsMin: options.intervalMsMin ?? 0,
          ...mask(options.fields),
        };
        // A stream has no deadline; 0 is none.
        for await (const message of this.raw.sessions.watchSessions(request, { signal: leaving.signal, timeoutMs: 0 })) {
          if (message.type === WatchSessionsResponse_Type.ERROR) {
            throw failureOf(message.error);
          }
          [breaks, brokenSince] = [0, undefined];
          resumeToken = message.resumeToken || resumeToken;
          if (owesReset && message.type !== WatchSessionsResponse_Type.RESET) yield { kind: "reset" };
          owesReset = false;
          const change = changeOf(message);
          told ||= change !== undefined;
          if (change !== undefined) yield change;
        }
        throw new ConnectError("the server ended the watch", Code.Unavailable);
      } catch (failure) {
        if (options.signal?.aborted) return;
        const error = RteError.from(failure);
        brokenSince ??= Date.now();
        if (error.reason === "INVALID_RESUME_TOKEN" && resumeToken) resumeToken = "";
        else if (!told || !PASSING.has(error.code) || Date.now() - brokenSince > BREAK_MS_MAX) throw error;
        owesReset = told && !resumeToken;
        breaks += 1;
        await sleep(pauseMs(breaks, 5_000, error.retryAfterMs), options.signal);
      } finally {
        options.signal?.removeEventListener("abort", leave);
        leaving.abort();
      }
    }
  }

  /** Resolves when the state has reached a position, as `flush` and `ingest` give it. */
  async waitApplied(position: string, timeoutMs?: number): Promise<void> {
    const request = { sessionIds: [NO_SESSION], minPosition: position };
    if (position) await translated(this.raw.sessions.batchGetSessions(request, deadline(timeoutMs)));
  }

  /** Writes attributes of one's own to a session, once however often it is tried; null removes. */
  async updateSession(
    sessionId: string,
    attributes: JsonObject,
    options: { etag?: string; requestId?: string; timeoutMs?: number } = {},
  ): Promise<Session> {
    const request = { sessionId, attributes, etag: options.etag ?? "", requestId: options.requestId ?? newId() };
    return present((await translated(this.raw.sessions.updateSession(request, deadline(options.timeoutMs)))).session);
  }

  /** Ends a session; resolves with it as it ended. */
  async endSession(sessionId: string, options: { requestId?: string; timeoutMs?: number } = {}): Promise<Session> {
    const request = { sessionId, requestId: options.requestId ?? newId() };
    return present((await translated(this.raw.sessions.endSession(request, deadline(options.timeoutMs)))).session);
  }

  /** Returns what the data mart says about a person; `freshness` says how far it can be relied on. */
  async getCustomer(customerId: string, options: { maxAgeMs?: number; timeoutMs?: number } = {}): Promise<Customer> {
    const age = options.maxAgeMs;
    const request = { customerId, ...(age === undefined ? {} : { maxAge: durationFromMs(age) }) };
    return present((await translated(this.raw.customers.getCustomer(request, deadline(options.timeoutMs)))).customer);
  }

  /** Writes attributes of a person into the data mart; null removes. Not tried twice. */
  async updateCustomer(
    customerId: string,
    attributes: JsonObject,
    options: { source: string; expireTime?: Date; etag?: string; author?: string; why?: string; timeoutMs?: number },
  ): Promise<Customer> {
    const { timeoutMs, expireTime, ...rest } = options;
    const expiry = expireTime === undefined ? {} : { expireTime: timestampFromDate(expireTime) };
    const request = { customerId, attributes, ...rest, ...expiry };
    return present((await translated(this.raw.customers.updateCustomer(request, deadline(timeoutMs)))).customer);
  }

  /** Counts a visitor's sessions as the customer's when sessions are read by customer; `why` stands in the audit. */
  async linkVisitor(
    customerId: string,
    visitorId: string,
    options: { why: string; author?: string; timeoutMs?: number },
  ): Promise<void> {
    const { timeoutMs, ...rest } = options;
    await translated(this.raw.customers.linkVisitor({ customerId, visitorId, ...rest }, deadline(timeoutMs)));
  }

  /** Takes a link back; rejects with the reason LINK_NOT_FOUND. */
  async unlinkVisitor(
    customerId: string,
    visitorId: string,
    options: { why: string; author?: string; timeoutMs?: number },
  ): Promise<void> {
    const { timeoutMs, ...rest } = options;
    await translated(this.raw.customers.unlinkVisitor({ customerId, visitorId, ...rest }, deadline(timeoutMs)));
  }
}

function changeOf(message: WatchSessionsResponse): Change | undefined {
  switch (message.type) {
    case WatchSessionsResponse_Type.RESET:
      return { kind: "reset" };
    case WatchSessionsResponse_Type.UPSERT:
      return { kind: "upsert", sessionId: message.sessionId, session: present(message.session) };
    case WatchSessionsResponse_Type.REMOVE:
      return { kind: "remove", sessionId: message.sessionId };
    case WatchSessionsResponse_Type.SYNCED:
      return { kind: "synced" };
    default:
      return undefined;
  }
}

/** Returns the failure that a stream tells as its last message, with its details. */
function failureOf(status: WatchSessionsResponse["error"]): ConnectError {
  const failure = new ConnectError(status?.message ?? "", status?.code ?? Code.Unknown);
  failure.details = (status?.details ?? []).map(({ typeUrl, value }) => ({ type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value }));
  return failure;
}

async function translated<T>(call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (failure) {
    throw RteError.from(failure);
  }
}

function deadline(timeoutMs: number | undefined): { timeoutMs: number } {
  return { timeoutMs: timeoutMs ?? DEADLINE_MS };
}

function mask(fields: readonly string[] | undefined) {
  return fields?.length ? { readMask: create(FieldMaskSchema, { paths: [...fields] }) } : {};
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw RteError.from(new ConnectError("the answer holds nothing", Code.Internal));
  return value;
}

/** `track()`: events go to the server in batches, in the background, and are held until it has them. */

import { create, toBinary, type JsonObject } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { RteError } from "./errors.js";
import { EventSchema, EventVerdict_Outcome, type Event, type EventVerdict } from "./gen/rte/v1/event_pb.js";
import type { IngestEventsResponse } from "./gen/rte/v1/event_service_pb.js";
import { newId } from "./ids.js";
import { pauseMs, sleep } from "./pauses.js";

/** Something that a visitor did. Names and properties follow the GA4 recommended events. */
export interface NewEvent {
  /** What happened, such as `page_view`; 1 to 64 bytes. */
  name: string;
  /** The device or browser; 1 to 128 bytes. */
  visitorId: string;
  /** What is known about it. */
  properties?: JsonObject;
  /** When it happened. Default: now. */
  eventTime?: Date;
  /** The person, where known. */
  customerId?: string;
  /** The way by which it came, such as `web`. */
  channel?: string;
  /** The sender's own session id. */
  clientSessionId?: string;
  /** Counts once, however often it is sent. Default: one is made. */
  eventId?: string;
}

/** How `track()` works. */
export interface TrackOptions {
  /** Events that are held at a time. Default 10,000. */
  eventsMax?: number;
  /** Bytes of events that are held at a time. Default 16 MiB. */
  bytesMax?: number;
  /** Events of a batch, at most the server's `limits.batch_events_max`. Default 500. */
  batchEventsMax?: number;
  /** How long an event may wait for others, milliseconds. Default 200. */
  lingerMs?: number;
  /** What happens when there is no room: `throw` a QueueFull, or `drop` the event and count it. Default `throw`. */
  whenFull?: "throw" | "drop";
  /** Batches on their way at a time. Default 2. */
  senders?: number;
  /** The longest pause between attempts while the server is away, milliseconds. Default 10,000. */
  backOffMsMax?: number;
  /** Is told of each event that the server refuses. Default: a warning on the console. */
  onRejected?: (event: Event, verdict: Pick<EventVerdict, "message" | "reason" | "field">) => void;
}

/** What became of tracked events. */
export interface TrackStats {
  tracked: number;
  delivered: number;
  rejected: number;
  dropped: number;
  held: number;
  attemptsFailed: number;
  lastError: RteError | undefined;
}

/** There was no room for an event; it was not taken. */
export class QueueFull extends Error {
  override readonly name = "QueueFull";
}

/** `flush` or `close` ended before all was delivered. */
export class NotDelivered extends Error {
  override readonly name = "NotDelivered";
  constructor(
    /** How many are held still. */
    readonly held: number,
    /** After `close`: the events, to be tracked again; with their ids they count once. Empty after `flush`. */
    readonly events: readonly NewEvent[],
    lastError: RteError | undefined,
  ) {
    super(`${held} events are not delivered${lastError ? `: ${lastError.message}` : ""}`, { cause: lastError });
  }
}

interface Held {
  event: Event;
  bytes: number;
}

/** Sends a batch and resolves when it is durable; rejects with an RteError. */
export type Send = (events: Event[]) => Promise<IngestEventsResponse>;

/** Returns the message of an event; it has an id and a time. */
export function messageOf(event: NewEvent): Event {
  return create(EventSchema, {
    eventId: event.eventId || newId(),
    name: event.name,
    visitorId: event.visitorId,
    eventTime: timestampFromMs((event.eventTime ?? new Date()).getTime()),
    customerId: event.customerId ?? "",
    channel: event.channel ?? "",
    clientSessionId: event.clientSessionId ?? "",
    ...(event.properties ? { properties: event.properties } : {}),
  });
}

/** Holds events until the server has them. An event is held from `track` until its batch is answered. */
export class Tracker {
  private readonly options: Required<Omit<TrackOptions, "onRejected">> & Pick<TrackOptions, "onRejected">;
  private readonly waiting: Held[] = [];
  private readonly onWay = new Set<Held>();
  private readonly ending = new AbortController();
  private heldBytes = 0;
  private running = 0;
  private hurry = false;
  private closing = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private settled: (() => void)[] = [];
  private position = "";
  private readonly counts = { tracked: 0, delivered: 0, rejected: 0, dropped: 0, attemptsFailed: 0 };
  private lastError: RteError | undefined;

  constructor(
    private readonly send: Send,
    options: TrackOptions = {},
  ) {
    const defaults = { eventsMax: 10_000, bytesMax: 16 << 20, batchEventsMax: 500, lingerMs: 200, senders: 2 } as const;
    this.options = { ...defaults, whenFull: "throw", backOffMsMax: 10_000, ...options };
  }

  /** Takes an event and returns its id. Throws QueueFull, or an Error after `close`. */
  track(event: NewEvent): string {
    if (this.closing) throw new Error("the client is closed");
    const message = messageOf(event);
    const bytes = toBinary(EventSchema, message).length;
    if (this.held >= this.options.eventsMax || this.heldBytes + bytes > this.options.bytesMax) {
      if (this.options.whenFull === "throw") throw new QueueFull(`${this.held} events wait for the server`);
      this.counts.dropped += 1;
      return message.eventId;
    }
    this.waiting.push({ event: message, bytes });
    this.heldBytes += bytes;
    this.counts.tracked += 1;
    this.schedule();
    return message.eventId;
  }

  /** Resolves with the latest position when all is durable or refused; rejects with NotDelivered when time is up. */
  async flush(timeoutMs: number): Promise<string> {
    if (!(await this.isEmptyWithin(timeoutMs))) throw new NotDelivered(this.held, [], this.lastError);
    return this.position;
  }

  /** Delivers what is held, then stops; rejects with NotDelivered, which has the events, when time is up. */
  async close(timeoutMs: number): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    const isEmpty = await this.isEmptyWithin(timeoutMs);
    this.ending.abort();
    clearTimeout(this.timer);
    if (isEmpty) return;
    const events = [...this.onWay, ...this.waiting].map(({ event }) => eventOf(event));
    throw new NotDelivered(events.length, events, this.lastError);
  }

  /** Returns what became of the events so far. */
  stats(): TrackStats {
    return { ...this.counts, held: this.held, lastError: this.lastError };
  }

  private get held(): number {
    return this.waiting.length + this.onWay.size;
  }

  private async isEmptyWithin(timeoutMs: number): Promise<boolean> {
    const end = Date.now() + timeoutMs;
    while (this.held > 0 && Date.now() < end) {
      this.hurry = true;
      this.schedule();
      const timer = new AbortController();
      await Promise.race([new Promise<void>((resolve) => this.settled.push(resolve)), sleep(end - Date.now(), timer.signal)]);
      timer.abort();
    }
    this.hurry = false;
    return this.held === 0;
  }

  private schedule(): void {
    if (this.waiting.length === 0 || this.running >= this.options.senders || this.ending.signal.aborted) return;
    if (this.hurry || this.waiting.length >= this.options.batchEventsMax) {
      clearTimeout(this.timer);
      this.timer = undefined;
      void this.sendOne();
    } else {
      this.timer ??= setTimeout(() => {
        this.timer = undefined;
        void this.sendOne();
      }, this.options.lingerMs);
    }
  }

  private async sendOne(): Promise<void> {
    if (this.waiting.length === 0 || this.running >= this.options.senders) return;
    const batch = this.waiting.splice(0, this.options.batchEventsMax);
    for (const each of batch) this.onWay.add(each);
    this.running += 1;
    this.schedule();
    try {
      await this.deliver(batch);
    } finally {
      this.running -= 1;
      this.schedule();
    }
  }

  /** Sends a batch until the server has answered it; in halves, if it takes it neither now nor ever. */
  private async deliver(batch: Held[]): Promise<void> {
    for (let attempt = 0; !this.ending.signal.aborted; attempt += 1) {
      try {
        const answer = await this.send(batch.map(({ event }) => event));
        return this.answered(batch, answer.acceptedCount, answer.rejectedCount, answer.position, answer.verdicts);
      } catch (failure) {
        const error = RteError.from(failure);
        this.counts.attemptsFailed += 1;
        this.lastError = error;
        if (error.isFinal && batch.length > 1) {
          const middle = batch.length >> 1;
          await this.deliver(batch.slice(0, middle));
          return this.deliver(batch.slice(middle));
        }
        if (error.isFinal) {
          const { message, field } = error;
          return this.answered(batch, 0, 1, "", [{ index: 0, outcome: EventVerdict_Outcome.REJECTED, reason: 0, field, message }]);
        }
        await sleep(pauseMs(attempt, this.options.backOffMsMax, error.retryAfterMs), this.ending.signal);
      }
    }
  }

  private answered(
    batch: Held[],
    delivered: number,
    rejected: number,
    position: string,
    verdicts: readonly Omit<EventVerdict, "$typeName" | "$unknown">[],
  ): void {
    for (const verdict of verdicts.filter(({ outcome }) => outcome === EventVerdict_Outcome.REJECTED)) {
      const event = batch[verdict.index]?.event;
      if (event === undefined) continue;
      try {
        if (this.options.onRejected) this.options.onRejected(event, verdict);
        else console.warn(`rte: the event ${event.eventId} was refused: ${verdict.message}`);
      } catch (failure) {
        console.error("rte: onRejected failed", failure);
      }
    }
    for (const each of batch) {
      this.onWay.delete(each);
      this.heldBytes -= each.bytes;
    }
    this.counts.delivered += delivered;
    this.counts.rejected += rejected;
    this.position = laterOf(this.position, position);
    const waiters = this.settled;
    this.settled = [];
    for (const resolve of waiters) resolve();
  }
}

/**
 * Returns which of two positions covers the other: the higher number of a shard; of two shards, or without one, `now`. Batches
 * that are on their way together are answered in any order.
 */
function laterOf(before: string, now: string): string {
  const [[, shardBefore, numberBefore] = [], [, shardNow, numberNow] = []] = [before, now].map((each) => /^(.*)-(\d+)$/.exec(each) ?? []);
  const isSame = numberBefore !== undefined && numberNow !== undefined && shardBefore === shardNow;
  return isSame && BigInt(numberBefore) > BigInt(numberNow) ? before : now || before;
}

function eventOf(message: Event): NewEvent {
  const { eventId, name, visitorId, customerId, channel, clientSessionId, properties, eventTime } = message;
  const time = eventTime === undefined ? {} : { eventTime: new Date(Number(eventTime.seconds) * 1000 + eventTime.nanos / 1e6) };
  return { eventId, name, visitorId, customerId, channel, clientSessionId, ...(properties ? { properties } : {}), ...time };
}

/**
 * The events that the server has not acknowledged, and their way there.
 *
 * They are sent in batches, again after an error with growing pauses, and at once when the page is left. Each has an id
 * by which the server counts it once: sending twice does no harm, losing does. What was not acknowledged when the page
 * was left is handed to the next page, where something may be stored. That page sends it again: whether the last request
 * of the page before was taken, nobody was there to be told. Each page hands over under a key of its own, so that tabs
 * do not overwrite what others left.
 */
import type { Properties } from './options'
import { forget, keysOf, read, write } from './storage'

export interface TagEvent {
  event_id: string
  name: string
  event_time: string
  visitor_id?: string
  customer_id?: string
  channel: 'web'
  properties: Properties
}

/** What is handed to the next page: how many events were dropped, and those that were not. */
interface Unsent {
  dropped: number
  events: TagEvent[]
}

/** Events that wait at most; beyond it new ones are dropped, and counted. */
const WAITING_MAX = 200
/** Events that pages before left, with those that wait, at most. */
const UNSENT_MAX = 2 * WAITING_MAX
const BATCH_EVENTS_MAX = 50
/** Browsers let at most 64 KiB outlive a page, and a character takes up to 3 bytes. */
const BATCH_LENGTH_MAX = 20_000
const BATCH_DELAY_MS = 400
const BACK_OFF_MS_MIN = 1_000
const BACK_OFF_MS_MAX = 30_000
const ANSWER_MS_MAX = 35_000
/** What the keys begin with under which pages hand over; the id of the page follows. */
const UNSENT = 'rte_unsent'

export class Queue {
  /** Events that were dropped and not told yet. */
  dropped = 0
  private waiting: TagEvent[] = []
  private held = true
  private readonly flying = new Set<TagEvent[]>()
  private failures = 0
  private timer = 0
  private stored = false
  private delayed = false

  /**
   * @param address Of `events:ingest`.
   * @param page Id of the page.
   * @param mayStore Whether something may be stored now.
   */
  constructor(
    private readonly address: string,
    private readonly page: string,
    private readonly mayStore: () => boolean,
  ) {}

  /** Whether there is room for another event. */
  get hasRoom(): boolean {
    return this.waiting.length < WAITING_MAX
  }

  /** Take an event, if there is room. */
  add(event: TagEvent): void {
    if (!this.hasRoom) {
      this.dropped += 1
      return
    }
    this.waiting.push(event)
    if (!this.failures && !this.timer) this.later(BATCH_DELAY_MS)
  }

  /** Send what waits no sooner than if it came now: its last event is not complete yet. Once for a batch, which has to leave. */
  hold(): void {
    if (this.failures || !this.timer || this.delayed) return
    this.delayed = true
    this.later(BATCH_DELAY_MS)
  }

  /** Begin to send; what waits belongs to `visitor`. */
  release(visitor: string): void {
    this.held = false
    for (const event of this.waiting) event.visitor_id = event.visitor_id || visitor
    if (this.mayStore()) {
      for (const key of keysOf(UNSENT)) if (key !== this.key) this.takeOver(key)
    }
    this.later(0)
  }

  /** Keep nothing in the browser, and drop what was not sent yet, or only what pages before left if `keep` is true. */
  deny(keep: boolean): void {
    if (!keep) {
      this.waiting = []
      this.dropped = 0
    }
    // Nor is sent again what is on its way.
    this.flying.clear()
    keysOf(UNSENT).forEach(forget)
    this.stored = false
  }

  /** Send all now, since the page may end. */
  leave(): void {
    if (this.held) return
    const events: TagEvent[] = []
    for (const batch of [...this.flying, this.waiting]) events.push(...batch)
    if (events.length && this.mayStore()) {
      const left: Unsent = { dropped: this.dropped, events }
      write(this.key, JSON.stringify(left))
      this.stored = true
    }
    while (this.waiting.length) this.post()
  }

  /** Go on at once, where a pause was made. */
  retry(): void {
    if (this.failures) this.later(0)
  }

  private get key(): string {
    return `${UNSENT}_${this.page}`
  }

  /** Take what another page left. */
  private takeOver(key: string): void {
    try {
      const { dropped, events } = JSON.parse(read(key) || '') as Unsent
      const room = Math.max(0, UNSENT_MAX - this.waiting.length)
      this.waiting.unshift(...events.slice(0, room))
      this.dropped += dropped + Math.max(0, events.length - room)
    } catch {
      // It is not what a page writes, or another tab was faster.
    }
    forget(key)
  }

  private later(delay_ms: number): void {
    clearTimeout(this.timer)
    this.timer = window.setTimeout(() => {
      this.timer = 0
      if (!this.held && !this.flying.size && this.waiting.length) this.post()
    }, delay_ms)
  }

  private post(): void {
    this.delayed = false
    let length = 0
    let count = 0
    for (const event of this.waiting.slice(0, BATCH_EVENTS_MAX)) {
      length += JSON.stringify(event).length
      if (count && length > BATCH_LENGTH_MAX) break
      count += 1
    }
    const batch = this.waiting.splice(0, count)
    // A text needs no preflight, for which a page that ends would not wait.
    const body = JSON.stringify({ events: batch, sent_time: new Date().toISOString() })
    if (document.visibilityState === 'hidden' && !('keepalive' in Request.prototype)) {
      navigator.sendBeacon(this.address, body)
      return
    }
    const abort = new AbortController()
    const limit = setTimeout(() => abort.abort(), ANSWER_MS_MAX)
    this.flying.add(batch)
    fetch(this.address, {
      method: 'POST',
      body,
      credentials: 'omit',
      keepalive: length <= BATCH_LENGTH_MAX,
      signal: abort.signal,
    })
      .then(pause_s, () => 1)
      .then((pause) => {
        clearTimeout(limit)
        this.answered(this.flying.delete(batch) ? batch : [], pause)
      })
  }

  /** Take note that a batch was taken (0), never will be (< 0), or is to be sent again after `pause` seconds. */
  private answered(batch: TagEvent[], pause: number): void {
    if (pause > 0) {
      this.failures += 1
      this.waiting.unshift(...batch)
      const back_off_ms = Math.min(BACK_OFF_MS_MIN * 2 ** (this.failures - 1), BACK_OFF_MS_MAX)
      this.later(Math.max(pause * 1000, back_off_ms * (0.5 + Math.random() / 2)))
      return
    }
    if (pause < 0) console.warn('rte: the server refuses a batch of events')
    this.failures = 0
    if (this.waiting.length) {
      this.later(BATCH_DELAY_MS)
    } else if (this.stored && !this.flying.size) {
      forget(this.key)
      this.stored = false
    }
  }
}

/** Return 0 where the server took a batch, the seconds after which to try again, or -1 where that is of no use. */
function pause_s(answer: Response): number | Promise<number> {
  if (answer.ok) return answer.json().then(warn).catch(() => 0)
  return answer.status === 429 || answer.status >= 500 ? Number(answer.headers.get('retry-after')) || 1 : -1
}

/** Tell whoever makes the site of events that were refused, with the reasons. */
function warn(verdicts: { rejected_count: number }): number {
  if (verdicts.rejected_count > 0) console.warn('rte: the server refuses events', JSON.stringify(verdicts))
  return 0
}

/**
 * How long a page is looked at, and how far it was scrolled.
 *
 * Time counts while the page is in the foreground and somebody did something in the last half minute, so that a tab that
 * was left open on a second screen does not look like a reader, nor keep a session alive.
 */
import type { Properties } from './options'

const IDLE_MS = 30_000

export class Attention {
  private since = 0
  private sign = 0
  private seen_ms = 0
  private depth = 0
  private told = 0

  /** Take note that somebody is there. Cheap: it is called for each move of a pointer. */
  active(): void {
    if (document.visibilityState === 'hidden') return
    const now = performance.now()
    if (this.since && now > this.sign + IDLE_MS) this.pause()
    this.sign = now
    this.since = this.since || now
  }

  /** End the stretch of time that is counted. */
  pause(): void {
    if (this.since) this.seen_ms += Math.min(performance.now(), this.sign + IDLE_MS) - this.since
    this.since = 0
  }

  /** Take note of the place to which the page is scrolled; returns the deepest one, percent of its height. */
  scrolled(): number {
    const height = document.documentElement.scrollHeight
    const percent = Math.min(100, Math.round((100 * (scrollY + innerHeight)) / height))
    this.depth = Math.max(this.depth, percent)
    return this.depth
  }

  /** Return the time that was not told yet, ms. */
  pending(): number {
    const going = this.since && performance.now() <= this.sign + IDLE_MS
    this.pause()
    if (going) this.since = performance.now()
    return Math.round(this.seen_ms)
  }

  /** Tell that time, as a property of an event. */
  time(): Properties {
    const engagement_time_msec = this.pending()
    if (!engagement_time_msec) return {}
    this.seen_ms = 0
    return { engagement_time_msec }
  }

  /** Tell the depth that was not told yet, as a property of an event. */
  reach(): Properties {
    if (this.depth <= this.told) return {}
    this.told = this.depth
    return { percent_scrolled: this.depth }
  }

  /** Begin a new page. */
  begin(): void {
    this.depth = this.told = 0
    this.active()
  }
}

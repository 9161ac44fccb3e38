/**
 * RTE's browser tag: measures what visitors do on a page and sends it to `POST /v1/events:ingest`.
 *
 * Its one global is `rte`, a function of commands. A page defines it as a stub that keeps the calls until this script has
 * loaded (docs/guides/browser-tag.md). Nothing in here may disturb the page: every entry is guarded.
 */
import { Attention } from './attention'
import { clickable, destination, formOf, place } from './elements'
import { DEFAULTS, type Options, type Properties } from './options'
import { Queue, type TagEvent } from './queue'
import { type Answers, randomId, Visitor } from './visitor'

declare const VERSION: string
declare global {
  interface Window {
    rte?: { (...call: unknown[]): void; q?: ArrayLike<unknown>[]; version?: string }
  }
}

/** Limit of the server for a string; a longer one would cost the event. */
const STRING_BYTES_MAX = 1_024
const CALLS_MAX = 200
const EXCEPTIONS_MAX = 5
const PING_MS_MIN = 1_000
/** So late frameworks set the title of a page that they have shown. */
const TITLE_MS = 50
const RAGE = { clicks: 3, ms: 1_000, pixels: 30 }

class Tag {
  private readonly attention = new Attention()
  private readonly visitor: Visitor
  private readonly queue: Queue
  private readonly page_id = randomId().slice(0, 12)
  private event_count = 0
  private exceptions = 0
  private customer_id: string
  private address = ''
  private location = ''
  /** The latest view, as long as its title may come late, and the title of the page before it. */
  private untitled?: { event: TagEvent; before: string }
  private title = ''
  private viewed = false
  private ended = false
  private clicks: { at: number; x: number; y: number }[] = []

  constructor(private readonly options: Options) {
    this.customer_id = options.customer_id
    this.visitor = new Visitor(options)
    this.queue = new Queue(`${options.endpoint}/v1/events:ingest`, this.page_id, () => this.visitor.state === 'measuring')
    if (this.visitor.id) this.queue.release(this.visitor.id)
    // Of a tab that was open when another one denied, perhaps.
    if (this.visitor.answers.analytics_storage === 'denied') this.queue.deny(true)
    this.location = options.clean_url(location.href)
    this.address = whole(location.href)
    this.attention.begin()
    if (options.pages) {
      this.view(document.referrer)
      this.followHistory()
    }
    this.watchAttention()
    if (options.clicks) this.watchClicks()
    if (options.errors) this.watchErrors()
  }

  /** Measure one event. */
  event(name: string, properties?: Properties): TagEvent | undefined {
    if (this.visitor.state === 'silent') return undefined
    const { dropped } = this.queue
    if (dropped && this.queue.hasRoom) {
      this.queue.dropped = 0
      this.queue.add(this.made('events_dropped', { count: dropped }))
    }
    const event = this.made(name, { page_location: this.location, ...this.attention.time(), ...properties })
    this.queue.add(event)
    return event
  }

  /** Measure that another page is shown. */
  page(properties?: Properties): void {
    const referrer = this.viewed ? this.location : document.referrer
    this.ping(PING_MS_MIN / 10)
    this.settle()
    this.address = whole(location.href)
    this.location = this.options.clean_url(location.href)
    this.attention.begin()
    this.view(referrer, properties)
    // A batch that is due would leave without the title.
    this.queue.hold()
  }

  /** Take what the visitor agreed to, or not. */
  consent(given: Answers): void {
    const { visitor, queue } = this
    const before = visitor.state
    const isNew = visitor.answer(given)
    const update = (): void => void (isNew && this.event('consent_update', { ...visitor.answers }))
    if (visitor.answers.analytics_storage === 'denied') {
      if (before === 'waiting' || before === 'measuring') {
        queue.deny(before === 'waiting' && this.options.denied === 'cookieless')
        // That it was withdrawn is the last that is told of a visitor who was measured.
        if (before === 'measuring') update()
        visitor.deny()
      }
      if (visitor.state === 'cookieless') queue.release(visitor.id)
      if (before !== 'measuring') update()
      return
    }
    if (visitor.answers.analytics_storage === 'granted' || before === 'measuring') {
      visitor.measure()
      queue.release(visitor.id)
    }
    update()
  }

  /** Take who the visitor is. */
  login(customer_id: string, properties?: Properties): void {
    this.customer_id = String(customer_id)
    this.event('login', { user_id: this.customer_id, ...properties })
  }

  /** Forget who the visitor was: the next event is somebody else's. */
  reset(): void {
    this.ping(0)
    this.customer_id = ''
    this.visitor.reset()
  }

  /** Tell the visitor's id; empty where nothing is measured. */
  id(then: (id: string) => void): void {
    then(this.visitor.id)
  }

  private made(name: string, properties: Properties): TagEvent {
    this.event_count += 1
    return {
      event_id: `${this.page_id}-${this.event_count}`,
      name,
      event_time: new Date().toISOString(),
      ...(this.visitor.id && { visitor_id: this.visitor.id }),
      ...(this.customer_id && { customer_id: this.customer_id }),
      channel: 'web',
      // A copy, so that what the page changes later changes nothing here.
      properties: JSON.parse(JSON.stringify(properties, (_, value) => (typeof value === 'string' ? clipped(value) : value))),
    }
  }

  private view(page_referrer: string, properties?: Properties): void {
    this.viewed = true
    this.ended = false
    this.exceptions = 0
    const event = this.event('page_view', {
      page_referrer: this.options.clean_url(page_referrer),
      page_title: document.title,
      language: navigator.language,
      user_agent: navigator.userAgent,
      ...properties,
    })
    this.untitled = undefined
    if (event && !(properties && properties.page_title)) {
      const untitled = (this.untitled = { event, before: this.title })
      setTimeout(() => {
        if (this.untitled !== untitled) return
        event.properties.page_title = clipped(document.title)
        this.settle()
      }, TITLE_MS)
    }
  }

  /** Take the title that the page has for its view, since another page comes. One that was set before the address stays. */
  private settle(): void {
    if (!this.untitled) return
    const { event, before } = this.untitled
    this.untitled = undefined
    if (event.properties.page_title === before) event.properties.page_title = clipped(document.title)
    this.title = event.properties.page_title as string
  }

  private followHistory(): void {
    const moved = guarded(() => void (whole(location.href) !== this.address && this.page()))
    for (const name of ['pushState', 'replaceState'] as const) {
      const original = history[name]
      history[name] = function (...change) {
        original.apply(this, change)
        moved()
      }
    }
    listen(window, 'popstate', moved)
    listen(window, 'hashchange', moved)
    // Shown again as it was, from the browser's memory.
    listen(window, 'pageshow', (event) => void ((event as PageTransitionEvent).persisted && this.page()))
  }

  private watchAttention(): void {
    const active = (): void => this.attention.active()
    for (const type of ['pointerdown', 'pointermove', 'keydown', 'touchstart', 'wheel']) listen(window, type, active)
    let scrolling = 0
    listen(document, 'scroll', () => {
      active()
      scrolling =
        scrolling ||
        window.setTimeout(
          guarded(() => {
            scrolling = 0
            if (this.attention.scrolled() >= 90 && !this.ended) {
              this.ended = true
              this.event('scroll', { percent_scrolled: 90 })
            }
          }),
          250,
        )
    })
    listen(document, 'visibilitychange', () => (document.visibilityState === 'hidden' ? this.leave() : active()))
    listen(window, 'pagehide', () => this.leave())
    listen(window, 'online', () => this.queue.retry())
    if (this.options.ping_s > 0) setInterval(guarded(() => this.ping(PING_MS_MIN)), this.options.ping_s * 1000)
  }

  private leave(): void {
    this.attention.pause()
    this.ping(0)
    this.queue.leave()
  }

  /** Tell how long the page was looked at since the last event, if that is more than `ms_min`. */
  private ping(ms_min: number): void {
    if (this.attention.pending() > ms_min) this.event('user_engagement', this.attention.reach())
  }

  private watchClicks(): void {
    listen(document, 'click', (happened) => {
      const { target, clientX, clientY } = happened as MouseEvent
      const element = clickable(target)
      if (element) this.event('click', { target: place(element), ...destination(element, this.options) })
      this.noteRage(clientX, clientY, element || (target as Element))
    })
    const begun = new WeakSet<Element>()
    listen(document, 'input', ({ target }) => {
      const form = target instanceof Element && target.closest('form')
      if (!form || begun.has(form)) return
      begun.add(form)
      this.event('form_start', formOf(form, this.options))
    })
    listen(document, 'submit', ({ target }) => void this.event('form_submit', formOf(target as HTMLFormElement, this.options)))
  }

  private noteRage(x: number, y: number, element: Element): void {
    const at = performance.now()
    this.clicks = this.clicks.filter((one) => at - one.at < RAGE.ms && Math.hypot(one.x - x, one.y - y) < RAGE.pixels)
    this.clicks.push({ at, x, y })
    // A click by the keyboard has no place.
    if (this.clicks.length < RAGE.clicks || !(x || y)) return
    this.clicks = []
    this.event('rage_click', { target: place(element) })
  }

  private watchErrors(): void {
    const note = (description: unknown): void => {
      this.exceptions += 1
      if (this.exceptions <= EXCEPTIONS_MAX) this.event('exception', { description: String(description).slice(0, 200) })
    }
    listen(window, 'error', (event) => void (event instanceof ErrorEvent && note(event.message)))
    listen(window, 'unhandledrejection', (event) => note((event as PromiseRejectionEvent).reason))
  }
}

/** Return an address without what only names a place in the page; routes in it (`#/basket`) stay. */
function whole(url: string): string {
  return url.replace(/#(?![/!]).*$/, '')
}

/** Return as much of a text as the server takes. */
function clipped(text: string): string {
  if (text.length * 3 <= STRING_BYTES_MAX) return text
  return text.slice(0, new TextEncoder().encodeInto(text, new Uint8Array(STRING_BYTES_MAX)).read)
}

/** Return a function that never throws: what is wrong in here is no matter of the page. */
function guarded<Given extends unknown[]>(work: (...given: Given) => unknown): (...given: Given) => void {
  return (...given) => {
    try {
      work(...given)
    } catch (error) {
      console.warn('rte:', error)
    }
  }
}

function listen(target: EventTarget, type: string, work: (event: Event) => void): void {
  target.addEventListener(type, guarded(work), { capture: true, passive: true })
}

const source = document.currentScript as HTMLScriptElement | null
const stub = window.rte

if (!(stub && stub.version)) {
  let tag: Tag | undefined
  let early: unknown[][] = []

  const run = guarded((name: unknown, ...given: unknown[]) => {
    if (name === 'init') {
      const begin = guarded(() => {
        tag = tag || new Tag({ ...DEFAULTS, endpoint: source ? new URL(source.src).origin : location.origin, ...(given[0] as Partial<Options>) })
        for (const call of early.splice(0)) run(...(call as [unknown]))
      })
      // A page that is loaded ahead and perhaps never seen is no visit.
      if ((document as Document & { prerendering?: boolean }).prerendering) listen(document, 'prerenderingchange', begin)
      else begin()
    } else if (!tag) {
      if (early.length < CALLS_MAX) early.push([name, ...given])
    } else if (name === 'event') tag.event(String(given[0]), given[1] as Properties)
    else if (name === 'page') tag.page(given[0] as Properties)
    else if (name === 'consent') tag.consent(given[0] as Answers)
    else if (name === 'login') tag.login(given[0] as string, given[1] as Properties)
    else if (name === 'reset') tag.reset()
    else if (name === 'visitor') tag.id(given[0] as (id: string) => void)
    else console.warn(`rte: there is no command ${String(name)}`)
  })

  window.rte = run as Window['rte']
  window.rte!.version = VERSION
  for (const call of Array.from((stub && stub.q) || [])) run(...(Array.from(call) as [unknown]))
}

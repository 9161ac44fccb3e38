/** What is told of an element: where it stands and where it leads, never what stands in it. */
import type { Options, Properties } from './options'

const LEVELS_MAX = 4
const CLICKABLE = 'a[href],button,summary,[role=button],[role=link],[role=tab],[role=menuitem],input[type=submit],input[type=button],input[type=image],[data-rte]'

/** Return the link or button that a click on `target` means. */
export function clickable(target: EventTarget | null): Element | null {
  return target instanceof Element ? target.closest(CLICKABLE) : null
}

/**
 * Return a short name of an element: its attribute `data-rte`, or else its place, such as `ul.products>li:3>button`.
 *
 * The place goes up to an element with an id or LEVELS_MAX levels. Of equal siblings each has its number.
 */
export function place(element: Element): string {
  const named = element.getAttribute('data-rte')
  if (named) return named
  const parts: string[] = []
  for (let at: Element | null = element; at && parts.length < LEVELS_MAX; at = at.parentElement) {
    const tag = at.tagName.toLowerCase()
    if (at.id) {
      parts.unshift(`${tag}#${at.id}`)
      break
    }
    const name = at.tagName
    const equals = at.parentElement ? Array.from(at.parentElement.children).filter((other) => other.tagName === name) : []
    const style = at.classList[0]
    parts.unshift(tag + (style ? `.${style}` : '') + (equals.length > 1 ? `:${equals.indexOf(at) + 1}` : ''))
  }
  return parts.join('>')
}

/** Return where a link leads, as GA4 names it. Of what is no web address only the scheme is told. */
export function destination(element: Element, options: Options): Properties {
  if (!(element instanceof HTMLAnchorElement) || !element.href) return {}
  if (!/^https?:/.test(element.href)) return { link_url: element.protocol }
  return {
    link_url: options.clean_url(element.href),
    link_domain: element.hostname,
    outbound: element.hostname !== location.hostname,
  }
}

/** Return which form it is, as GA4 names it; never what was written into it. */
export function formOf(form: HTMLFormElement, options: Options): Properties {
  return {
    form_id: form.getAttribute('id') || '',
    form_name: form.getAttribute('name') || '',
    form_destination: options.clean_url(form.action),
  }
}

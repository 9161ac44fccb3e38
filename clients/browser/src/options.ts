/** What a site may set with `rte('init', {...})`. docs/guides/browser-tag.md is the reference. */
export interface Options {
  /** Where RTE is, such as `https://rte.example`. Default: where the script came from. */
  endpoint: string
  /** `required`: nothing is stored or sent before `rte('consent', ...)`. Default `granted`. */
  consent: 'granted' | 'required'
  /** What goes on after a denial: nothing, or events under an id that lives as long as the page. Default `nothing`. */
  denied: 'nothing' | 'cookieless'
  /** Where the visitor's id is kept. Default `cookie`; where cookies do not work, localStorage. */
  storage: 'cookie' | 'localStorage'
  /** Domain of the cookie, such as `example.com` for all its hosts. Default: this host only. */
  cookie_domain: string
  /** SameSite of the cookie. Default `Lax`. */
  same_site: 'Lax' | 'Strict' | 'None'
  /** The person, on pages that know who is logged in. */
  customer_id: string
  /** Whether page views are measured; else the site calls `rte('page')`. Default true. */
  pages: boolean
  /** Whether clicks and forms are measured. Default true. */
  clicks: boolean
  /** Whether errors of scripts are measured. Default true. */
  errors: boolean
  /** Seconds between two pings of a page that somebody looks at. Default 15; 0: none but at the end. */
  ping_s: number
  /** Changes an address before it is sent, for example to take names out of it. */
  clean_url: (url: string) => string
}

export type Properties = Record<string, unknown>

export const DEFAULTS: Omit<Options, 'endpoint'> = {
  consent: 'granted',
  denied: 'nothing',
  storage: 'cookie',
  cookie_domain: '',
  same_site: 'Lax',
  customer_id: '',
  pages: true,
  clicks: true,
  errors: true,
  ping_s: 15,
  clean_url: (url) => url,
}

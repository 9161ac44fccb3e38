/** Cookies and localStorage, neither of which a browser has to have. */
import type { Options } from './options'

/** As long as browsers keep a cookie at most: 400 days. */
const COOKIE_S = 34_560_000

export function read(key: string): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

export function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value)
  } catch {
    // It is full, or switched off.
  }
}

export function forget(key: string): void {
  try {
    localStorage.removeItem(key)
  } catch {
    // There was nothing.
  }
}

/** Return the keys that begin with a text. */
export function keysOf(prefix: string): string[] {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix))
  } catch {
    return []
  }
}

export function readCookie(key: string): string | null {
  const found = `; ${document.cookie}`.split(`; ${key}=`)[1]
  return found === undefined ? null : (found.split(';')[0] as string)
}

/** Write a cookie; an empty value removes it. */
export function writeCookie(key: string, value: string, options: Options): void {
  const secure = location.protocol === 'https:' ? '; Secure' : ''
  const domain = options.cookie_domain ? `; Domain=${options.cookie_domain}` : ''
  const age = value ? COOKIE_S : 0
  document.cookie = `${key}=${value}; Path=/; Max-Age=${age}; SameSite=${options.same_site}${domain}${secure}`
}

/**
 * Who the visitor is, and what the visitor agreed to.
 *
 * The id and the answers are kept in a first-party cookie each (or an entry of localStorage each), and only with
 * consent. Without it an id lives as long as the page. Where measuring is the default, a denial is kept, too: else the
 * next page would measure again.
 */
import type { Options } from './options'
import { forget, read, readCookie, write, writeCookie } from './storage'

export type Answers = Record<string, 'granted' | 'denied'>

const VISITOR = 'rte_visitor'
const CONSENT = 'rte_consent'
const ID = /^[\w-]{8,64}$/

/** Return 32 random hexadecimal digits. */
export function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => (byte + 256).toString(16).slice(1)).join('')
}

export class Visitor {
  /** Empty before consent, and where nothing is measured. */
  id = ''
  state: 'waiting' | 'measuring' | 'cookieless' | 'silent' = 'waiting'
  answers: Answers = {}

  constructor(private readonly options: Options) {
    this.answer(Object.fromEntries((this.load(CONSENT) || '').split('.').map((pair) => pair.split(':'))))
    if (this.answers.analytics_storage === 'denied') this.deny()
    else if (options.consent !== 'required' || this.answers.analytics_storage === 'granted') this.measure()
  }

  /** Take answers of the visitor, of which any other word than `granted` denies; returns whether they say something new. */
  answer(given: Record<string, unknown>): boolean {
    let isNew = false
    for (const [purpose, said] of Object.entries(given)) {
      const answer = said === 'granted' ? said : 'denied'
      if (purpose && this.answers[purpose] !== answer) {
        this.answers[purpose] = answer
        isNew = true
      }
    }
    return isNew
  }

  /** Measure under the id that is kept, or a new one, and keep it. */
  measure(): void {
    const kept = this.load(VISITOR)
    if (kept && ID.test(kept)) this.id = kept
    else if (this.state !== 'measuring') this.id = randomId()
    this.state = 'measuring'
    this.save(VISITOR, this.id)
    const answers = Object.entries(this.answers)
    if (answers.length) this.save(CONSENT, answers.map((pair) => pair.join(':')).join('.'))
  }

  /** Keep nothing but the denial, where the default is to measure; go on under an id of this page, or not at all. */
  deny(): void {
    this.forget()
    if (this.options.consent !== 'required') this.save(CONSENT, 'analytics_storage:denied')
    this.state = this.options.denied === 'cookieless' ? 'cookieless' : 'silent'
    this.id = this.state === 'cookieless' ? randomId() : ''
  }

  /** Be somebody new from now on. */
  reset(): void {
    if (this.state !== 'measuring') return
    this.forget()
    this.state = 'waiting'
    this.measure()
  }

  private forget(): void {
    for (const key of [VISITOR, CONSENT]) {
      writeCookie(key, '', this.options)
      forget(key)
    }
  }

  private load(key: string): string | null {
    return (this.options.storage === 'cookie' && readCookie(key)) || read(key)
  }

  private save(key: string, value: string): void {
    if (this.options.storage === 'cookie') {
      writeCookie(key, value, this.options)
      if (readCookie(key) === value) return
    }
    write(key, value)
  }
}

/** Words of the interface: typed dictionaries, plurals and dates by Intl. */
import { clock } from '../clock.svelte'
import type { Dictionary, Key } from './ru'

export type Locale = 'ru' | 'en'
type Values = Record<string, string | number>
type Plural = Partial<Record<Intl.LDMLPluralRule, string>>

const LOADERS: Record<Locale, () => Promise<Dictionary>> = {
  ru: async () => (await import('./ru')).ru,
  en: async () => (await import('./en')).en,
}
const KEPT_AS = 'rugpt-locale'

let locale = $state<Locale>('ru')
let words = $state.raw<Dictionary | null>(null)
const formats = new Map<string, Intl.DateTimeFormat>()

/** The language that was chosen here before, or the browser's. */
export function usualLocale(): Locale {
  const kept = localStorage.getItem(KEPT_AS)
  if (kept === 'ru' || kept === 'en') return kept
  return navigator.language.toLowerCase().startsWith('ru') ? 'ru' : 'en'
}

export async function speak(next: Locale): Promise<void> {
  words = await LOADERS[next]()
  locale = next
  formats.clear()
  localStorage.setItem(KEPT_AS, next)
  document.documentElement.lang = next
}

export function language(): Locale {
  return locale
}

/** Say something; `n` chooses the plural. */
export function t(key: Key, values: Values = {}): string {
  const said = words?.[key]
  if (said === undefined) return key
  const text = typeof said === 'string' ? said : plural(said, Number(values.n ?? 0))
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name]
    if (value === undefined) return whole
    return typeof value === 'number' ? number(value) : value
  })
}

/** Whether there are words for a key that was put together, such as a refusal's code. */
export function isKey(key: string): key is Key {
  return words !== null && key in words
}

function plural(forms: Plural, n: number): string {
  return forms[new Intl.PluralRules(locale).select(n)] ?? forms.other ?? ''
}

export function number(value: number): string {
  return new Intl.NumberFormat(locale).format(value)
}

/** Write a date; formats are costly to make and are kept. */
export function date(value: Date | string, options: Intl.DateTimeFormatOptions): string {
  const key = JSON.stringify(options)
  let format = formats.get(key)
  if (format === undefined) formats.set(key, (format = new Intl.DateTimeFormat(locale, options)))
  return format.format(typeof value === 'string' ? new Date(value) : value)
}

export const time = (value: Date | string): string => date(value, { hour: '2-digit', minute: '2-digit' })
export const day = (value: Date | string): string => date(value, { day: 'numeric', month: 'long' })
export const moment = (value: Date | string): string =>
  date(value, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })

/** Today, yesterday, a weekday and date, or a date with its year. */
export function dayName(value: Date | string, now: Date = clock.today): string {
  const then = typeof value === 'string' ? new Date(value) : value
  const days = Math.round((startOfDay(now).getTime() - startOfDay(then).getTime()) / 86_400_000)
  if (days >= -1 && days <= 1) {
    return capital(new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(-days, 'day'))
  }
  const year = then.getFullYear() === now.getFullYear() ? {} : ({ year: 'numeric' } as const)
  return capital(date(then, { weekday: 'long', day: 'numeric', month: 'long', ...year }))
}

/** The time today, else the date: as short as a list wants it. */
export function shortWhen(value: Date | string, now: Date = clock.today): string {
  const then = typeof value === 'string' ? new Date(value) : value
  if (startOfDay(now).getTime() === startOfDay(then).getTime()) return time(then)
  const year = then.getFullYear() === now.getFullYear() ? {} : ({ year: '2-digit' } as const)
  return date(then, { day: 'numeric', month: 'short', ...year })
}

/** How long ago, in the largest unit that fits. */
export function ago(value: Date | string, now: Date = clock.now): string {
  const then = typeof value === 'string' ? new Date(value) : value
  const seconds = (then.getTime() - now.getTime()) / 1000
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' })
  const units = [['day', 86_400], ['hour', 3_600], ['minute', 60]] as const
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return format.format(Math.round(seconds / size), unit)
  }
  return format.format(Math.round(seconds), 'second')
}

export function startOfDay(value: Date): Date {
  return new Date(value.getFullYear(), value.getMonth(), value.getDate())
}

export function capital(text: string): string {
  return text.charAt(0).toLocaleUpperCase(locale) + text.slice(1)
}

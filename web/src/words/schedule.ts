/** When something comes round, as people choose it and as the engine keeps it. */
import type { CalendarEvent, NewEvent } from '../api/types'

export type Repeat = 'never' | 'daily' | 'weekly' | 'monthly' | 'yearly' | 'hours' | 'other'
export type Ends = 'never' | 'until' | 'count'
export const WEEKDAYS = ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'] as const
export type Weekday = (typeof WEEKDAYS)[number]

export interface Choice {
  date: string // yyyy-mm-dd, by the clock of `timezone`
  time: string // hh:mm
  timezone: string
  repeat: Repeat
  every: number
  weekdays: Weekday[]
  /** By the month's day (15), the last day (-1), or a weekday of it ("2TU", "-1FR"). */
  monthly: string
  ends: Ends
  until: string
  count: number
  workingDays: CalendarEvent['working_days']
  /** What this form cannot show: a rule or a cron line, kept as it is. */
  other: { rrule: string | null; cron: string | null }
}

type Schedule = Pick<
  NewEvent,
  'kind' | 'starts_at' | 'timezone' | 'cron' | 'rrule' | 'every_seconds' | 'ends_at' | 'count' | 'working_days'
>

/** What of an event says when it comes. */
export type Kept = Pick<
  CalendarEvent,
  'kind' | 'starts_at' | 'timezone' | 'cron' | 'rrule' | 'every_seconds' | 'ends_at' | 'count' | 'working_days'
>

const FREQUENCIES: Record<string, Repeat> = { DAILY: 'daily', WEEKLY: 'weekly', MONTHLY: 'monthly', YEARLY: 'yearly' }
const HOUR = 3600
const TO_FILL_IN_MS = 5 * 60_000
const MINUTE_MS = 60_000
const DAY = 24 * 60 // in minutes

/** The offset of a time zone at a moment, in minutes. */
function offsetAt(moment: Date, timezone: string): number {
  const parts = new Intl.DateTimeFormat('en-US', {
    timeZone: timezone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(moment)
  const part = (type: string): number => Number(parts.find((one) => one.type === type)?.value)
  const wall = Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second'))
  return Math.round((wall - Math.floor(moment.getTime() / 1000) * 1000) / 60_000)
}

/**
 * The moment at which a clock of a time zone shows this date and time, as the engine has it: the first of two
 * where the clock is put back, the end of the gap where it is put forward over it.
 */
export function momentOf(date: string, time: string, timezone: string): Date {
  const wall = Date.parse(`${date}T${time}:00Z`) / MINUTE_MS
  const offset = (minute: number): number => offsetAt(new Date(minute * MINUTE_MS), timezone)
  const [before, after] = [offset(wall - DAY), offset(wall + DAY)]
  let [early, late] = [wall - Math.max(before, after), wall - Math.min(before, after)]
  const shown = [early, late].find((minute) => minute + offset(minute) === wall)
  if (shown !== undefined) return new Date(shown * MINUTE_MS)
  while (late - early > 1) {
    const middle = Math.floor((early + late) / 2)
    if (offset(middle) === before) early = middle
    else late = middle
  }
  return new Date(late * MINUTE_MS)
}

/** What a clock of a time zone shows at a moment. */
export function wallOf(moment: Date, timezone: string): { date: string; time: string } {
  const wall = new Date(moment.getTime() + offsetAt(moment, timezone) * 60_000).toISOString()
  return { date: wall.slice(0, 10), time: wall.slice(11, 16) }
}

export function weekdayOf(date: string): Weekday {
  return WEEKDAYS[(new Date(`${date}T12:00:00Z`).getUTCDay() + 6) % 7]!
}

/** The plan of an event, without what the engine adds to it. */
export function planOf(event: CalendarEvent): NewEvent {
  const { title, description, kind, starts_at, timezone, cron, rrule, every_seconds, ends_at, count, exdates } = event
  const { working_days, country, role, instruction, chat_id, notify, misfire, grace_seconds } = event
  const when = { kind, starts_at, timezone, cron, rrule, every_seconds, ends_at, count, exdates, working_days, country }
  return { ...when, title, description, role, instruction, chat_id, notify, misfire, grace_seconds }
}

/** What a new event begins with: the time pointed at, or the next full hour where that is over; what has passed never comes. */
export function firstChoice(date: string, timezone: string, time = '10:00', now = new Date()): Choice {
  const soon = new Date(now.getTime() + TO_FILL_IN_MS)
  if (momentOf(date, time, timezone) > soon) return onceAt({ date, time }, timezone)
  const next = wallOf(new Date(soon.getTime() + HOUR * 1000), timezone)
  return onceAt({ date: next.date, time: `${next.time.slice(0, 2)}:00` }, timezone)
}

function onceAt({ date, time }: { date: string; time: string }, timezone: string): Choice {
  return {
    date,
    time,
    timezone,
    repeat: 'never',
    every: 1,
    weekdays: [weekdayOf(date)],
    monthly: String(Number(date.slice(8))),
    ends: 'never',
    until: date,
    count: 10,
    workingDays: 'any',
    other: { rrule: null, cron: null },
  }
}

/** Say a choice as the engine keeps it. */
export function scheduleOf(choice: Choice): Schedule {
  const { timezone } = choice
  const starts_at = momentOf(choice.date, choice.time, timezone).toISOString()
  const isRepeated = choice.repeat !== 'never'
  const ends_at =
    isRepeated && choice.ends === 'until' ? momentOf(nextDay(choice.until), '00:00', timezone).toISOString() : null
  const count = isRepeated && choice.ends === 'count' ? choice.count : null
  const plain = { starts_at, timezone, ends_at, count, cron: null, rrule: null, every_seconds: null }
  const working_days = isRepeated ? choice.workingDays : ('any' as const)
  if (!isRepeated) return { ...plain, kind: 'one_time', working_days }
  if (choice.repeat === 'hours') return { ...plain, kind: 'interval', every_seconds: choice.every * HOUR, working_days: 'any' }
  if (choice.repeat === 'other') return { ...plain, ...choice.other, kind: 'recurring', working_days }
  return { ...plain, kind: 'recurring', rrule: ruleOf(choice), working_days }
}

function ruleOf({ repeat, every, weekdays, monthly }: Choice): string {
  const parts = [`FREQ=${repeat.toUpperCase()}`]
  if (every > 1) parts.push(`INTERVAL=${every}`)
  if (repeat === 'weekly') parts.push(`BYDAY=${WEEKDAYS.filter((day) => weekdays.includes(day)).join(',')}`)
  if (repeat === 'monthly') parts.push(/[A-Z]/.test(monthly) ? `BYDAY=${monthly}` : `BYMONTHDAY=${monthly}`)
  return parts.join(';')
}

/** Read what the engine keeps as a choice. */
export function choiceOf(event: Kept): Choice {
  const choice = { ...onceAt(wallOf(new Date(event.starts_at), event.timezone), event.timezone), workingDays: event.working_days }
  choice.other = { rrule: event.rrule, cron: event.cron }
  if (event.count !== null) Object.assign(choice, { ends: 'count', count: event.count })
  if (event.ends_at !== null) {
    const last = new Date(Date.parse(event.ends_at) - 1000)
    Object.assign(choice, { ends: 'until', until: wallOf(last, event.timezone).date })
  }
  if (event.kind === 'one_time') return choice
  if (event.kind === 'interval') {
    const hours = (event.every_seconds ?? 0) / HOUR
    return Number.isInteger(hours) ? { ...choice, repeat: 'hours', every: hours } : { ...choice, repeat: 'other' }
  }
  return { ...choice, ...ruleRead(event.rrule) }
}

function ruleRead(rrule: string | null): Partial<Choice> {
  const parts = new Map((rrule ?? '').split(';').map((part) => part.split('=') as [string, string]))
  const repeat = FREQUENCIES[parts.get('FREQ') ?? '']
  const every = Number(parts.get('INTERVAL') ?? 1)
  const known = new Set(['FREQ', 'INTERVAL'])
  const read: Partial<Choice> = { every }
  const byDay = parts.get('BYDAY') ?? ''
  if (repeat === 'weekly' && byDay !== '') {
    read.weekdays = byDay.split(',') as Weekday[]
    known.add('BYDAY')
    if (!read.weekdays.every((day) => WEEKDAYS.includes(day))) return { repeat: 'other' }
  }
  if (repeat === 'monthly') {
    read.monthly = parts.get('BYMONTHDAY') ?? byDay
    known.add('BYDAY').add('BYMONTHDAY')
    if (!/^(-?\d{1,2}|-?\d[A-Z]{2})$/.test(read.monthly)) return { repeat: 'other' }
  }
  const isWhole = repeat !== undefined && [...parts.keys()].every((name) => known.has(name))
  return isWhole ? { ...read, repeat } : { repeat: 'other' }
}

function nextDay(date: string): string {
  return new Date(Date.parse(`${date}T12:00:00Z`) + 86_400_000).toISOString().slice(0, 10)
}

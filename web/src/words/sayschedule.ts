/** A schedule in the words that people use: "каждый вторник в 10:00, кроме праздников". */
import { date as formatted, t } from '../i18n/index.svelte'
import { WEEKDAYS, type Choice, type Weekday } from './schedule'

type Place = '1' | '2' | '3' | '4' | '5' | '-1'
const GENDERS: Record<Weekday, 'm' | 'f' | 'n'> = { MO: 'm', TU: 'm', WE: 'f', TH: 'm', FR: 'f', SA: 'f', SU: 'n' }
const WORKDAYS = 'MO,TU,WE,TH,FR'

export function sayChoice(choice: Choice): string {
  const day = new Date(`${choice.date}T12:00:00Z`)
  const on = formatted(day, { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' })
  if (choice.repeat === 'never') return t('when.once', { date: on, time: choice.time })
  const parts = [`${sayRepeat(choice, day)}${choice.repeat === 'hours' ? '' : ` ${t('when.at', { time: choice.time })}`}`]
  if (choice.workingDays !== 'any' && choice.repeat !== 'hours') parts.push(t(`when.working.${choice.workingDays}`))
  if (choice.ends === 'count') parts.push(t('when.count', { n: choice.count }))
  if (choice.ends === 'until') {
    const until = new Date(`${choice.until}T12:00:00Z`)
    parts.push(t('when.until', { date: formatted(until, { day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' }) }))
  }
  return parts.join(', ')
}

function sayRepeat(choice: Choice, day: Date): string {
  const { repeat, every: n } = choice
  if (repeat === 'daily' || repeat === 'hours') return sayEvery(repeat, n)
  if (repeat === 'weekly') return sayWeekly(choice)
  if (repeat === 'monthly') return `${sayEvery('monthly', n)} ${sayMonthly(choice.monthly)}`
  if (repeat === 'yearly') {
    return `${sayEvery('yearly', n)} ${formatted(day, { day: 'numeric', month: 'long', timeZone: 'UTC' })}`
  }
  return t('when.other', { rule: choice.other.cron ?? choice.other.rrule ?? '' })
}

function sayEvery(unit: 'daily' | 'hours' | 'monthly' | 'yearly', n: number): string {
  return n === 1 ? t(`when.${unit}.one`) : t(`when.${unit}`, { n })
}

function sayWeekly({ weekdays, every: n }: Choice): string {
  const days = WEEKDAYS.filter((day) => weekdays.includes(day))
  if (n === 1 && days.length === 1) return t(`when.every.${days[0]!}`)
  if (n === 1 && days.join() === WORKDAYS) return t('when.workdays')
  const list = days.map((day) => t(`when.on.${day}`)).join(', ')
  return n === 1 ? t('when.weekly', { days: list }) : `${t('when.weeks', { n })} ${t('when.weekly', { days: list })}`
}

/** The fifteenth, the last day, the second Tuesday. */
export function sayMonthly(monthly: string): string {
  const weekday = /^(-?\d)([A-Z]{2})$/.exec(monthly)
  if (weekday !== null) {
    const [, place, day] = weekday as unknown as [string, Place, Weekday]
    return `${t(`when.nth.${GENDERS[day]}.${place}`)} ${t(`when.day.${day}`)}`
  }
  return monthly === '-1' ? t('when.month.end') : t('when.month.day', { day: monthly })
}

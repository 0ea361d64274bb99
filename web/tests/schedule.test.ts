import { beforeAll, expect, test } from 'vitest'
import { speak } from '$/i18n/index.svelte'
import { sayChoice } from '$/words/sayschedule'
import { choiceOf, firstChoice, momentOf, scheduleOf, wallOf, type Choice, type Kept } from '$/words/schedule'

const LONG_AGO = new Date(0)
const choice = (given: Partial<Choice>): Choice => ({ ...firstChoice('2026-12-08', 'Europe/Moscow', '10:00', LONG_AGO), ...given })

beforeAll(() => speak('ru'))

test.each<[Partial<Choice>, string]>([
  [{}, '8 декабря 2026 г. в 10:00'],
  [{ repeat: 'weekly', weekdays: ['TU'], workingDays: 'skip' }, 'Каждый вторник в 10:00, кроме праздников'],
  [{ repeat: 'weekly', weekdays: ['MO', 'TU', 'WE', 'TH', 'FR'] }, 'По будням в 10:00'],
  [{ repeat: 'weekly', weekdays: ['TU', 'FR'], every: 2 }, 'Каждые 2 недели по вторникам, пятницам в 10:00'],
  [{ repeat: 'monthly', monthly: '15', workingDays: 'previous' }, 'Каждый месяц 15-го числа в 10:00, с переносом на предыдущий рабочий день'],
  [{ repeat: 'monthly', monthly: '2WE' }, 'Каждый месяц во вторую среду в 10:00'],
  [{ repeat: 'monthly', monthly: '-1FR', ends: 'count', count: 3 }, 'Каждый месяц в последнюю пятницу в 10:00, всего 3 раза'],
  [{ repeat: 'hours', every: 2 }, 'Каждые 2 часа'],
])('%j is said as people say it', (given, words) => {
  expect(sayChoice(choice(given))).toBe(words)
})

test.each<Partial<Choice>>([
  {},
  { repeat: 'daily', every: 3 },
  { repeat: 'weekly', weekdays: ['MO', 'TH'], every: 2, workingDays: 'next' },
  { repeat: 'monthly', monthly: '31', ends: 'until', until: '2027-05-31' },
  { repeat: 'monthly', monthly: '2TU' },
  { repeat: 'monthly', monthly: '-1', ends: 'count', count: 5 },
  { repeat: 'yearly' },
  { repeat: 'hours', every: 6 },
])('%j is kept and read back as it was', (given) => {
  const chosen = choice(given)
  const read = choiceOf(scheduleOf(chosen) as Kept)

  expect({ ...read, other: null }).toEqual({ ...chosen, other: null })
})

test('a rule that the form cannot show is kept as it is', () => {
  const plan = { ...scheduleOf(choice({ repeat: 'weekly' })), rrule: 'FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1' } as Kept

  expect(choiceOf(plan).repeat).toBe('other')
  expect(scheduleOf(choiceOf(plan)).rrule).toBe(plan.rrule)
})

test('a wall-clock time is the same moment for everybody, on both sides of a change of clocks', () => {
  expect(momentOf('2026-07-01', '10:00', 'Europe/Berlin').toISOString()).toBe('2026-07-01T08:00:00.000Z')
  expect(momentOf('2026-12-01', '10:00', 'Europe/Berlin').toISOString()).toBe('2026-12-01T09:00:00.000Z')
  expect(wallOf(new Date('2026-12-31T21:30:00Z'), 'Europe/Moscow')).toEqual({ date: '2027-01-01', time: '00:30' })
})

test.each([
  ['Europe/Berlin', '2026-03-28', '20:00', '2026-03-28T19:00Z'],
  ['Europe/Berlin', '2026-03-29', '02:30', '2026-03-29T01:00Z'],
  ['Europe/Berlin', '2026-03-29', '03:00', '2026-03-29T01:00Z'],
  ['Europe/Berlin', '2026-03-29', '03:30', '2026-03-29T01:30Z'],
  ['Europe/Berlin', '2026-10-25', '02:30', '2026-10-25T00:30Z'],
  ['Europe/Berlin', '2026-10-25', '03:00', '2026-10-25T02:00Z'],
  ['America/New_York', '2026-03-08', '02:30', '2026-03-08T07:00Z'],
  ['America/New_York', '2026-11-01', '01:30', '2026-11-01T05:30Z'],
  ['Australia/Lord_Howe', '2026-10-04', '02:10', '2026-10-03T15:30Z'],
  ['Australia/Lord_Howe', '2026-04-05', '01:45', '2026-04-04T14:45Z'],
  ['Pacific/Apia', '2011-12-30', '12:00', '2011-12-30T10:00Z'],
])('where clocks are changed, in %s, %s %s is the moment that the engine takes it for', (timezone, date, time, moment) => {
  expect(momentOf(date, time, timezone)).toEqual(new Date(moment))
})

test.each([
  ['2026-12-08', '10:00', '2026-12-08T06:00:00Z', '2026-12-08 10:00'],
  ['2026-12-08', '10:00', '2026-12-08T06:58:00Z', '2026-12-08 11:00'],
  ['2026-12-08', '10:00', '2026-12-08T12:30:00Z', '2026-12-08 16:00'],
  ['2026-12-08', '10:00', '2026-12-08T20:15:00Z', '2026-12-09 00:00'],
  ['2026-12-31', '10:00', '2026-12-31T20:57:00Z', '2027-01-01 01:00'],
  ['2026-12-07', '15:00', '2026-12-08T06:30:00Z', '2026-12-08 10:00'],
  ['2026-12-09', '15:00', '2026-12-08T20:15:00Z', '2026-12-09 15:00'],
])('a new event for %s at %s, begun at %s, is to come: %s', (date, time, now, expected) => {
  const first = firstChoice(date, 'Europe/Moscow', time, new Date(now))

  expect(`${first.date} ${first.time}`).toBe(expected)
})

test.each(Array.from({ length: 48 }, (_, half) => new Date(Date.UTC(2026, 11, 8, 0, 15 + 30 * half))))(
  'at whatever hour one begins an event, it is to come (%s)',
  (now) => {
    for (const timezone of ['Europe/Moscow', 'Asia/Kolkata', 'America/St_Johns', 'Asia/Kamchatka']) {
      const { date } = wallOf(now, timezone)

      expect(Date.parse(scheduleOf(firstChoice(date, timezone, '10:00', now)).starts_at)).toBeGreaterThan(now.getTime())
    }
  },
)

test('an event of this hour is read back at its own time', () => {
  const event = { ...scheduleOf(choice({})), starts_at: new Date(Date.now() + 60_000).toISOString() } as Kept
  const wall = wallOf(new Date(event.starts_at), 'Europe/Moscow')

  expect(choiceOf(event)).toMatchObject(wall)
})

/** What comes in the days that are in view, read again when the calendar changes. */
import { SvelteMap } from 'svelte/reactivity'
import type { Planned } from '../../api/types'
import { asProblem, type Problem } from '../../api/problem'
import { pause } from '../../live/jobs'
import { client, work } from '../../workspace.svelte'

export type View = 'month' | 'week' | 'agenda'
const DAY_MS = 86_400_000

export class Agenda {
  items = $state.raw<Planned[]>([])
  isComplete = $state(true)
  isLoaded = $state(false)
  problem = $state.raw<Problem | null>(null)
  /** Days that are free or worked other than their weekday says. */
  readonly free = new SvelteMap<string, boolean>()
  private range: [Date, Date] | null = null
  private turn = 0
  private isWaiting = false
  private readonly years = new Set<number>()

  async show(from: Date, to: Date): Promise<void> {
    this.range = [from, to]
    const turn = ++this.turn
    try {
      const query = { from: from.toISOString(), to: to.toISOString() }
      const found = await client.call('get', '/api/v1/calendar/occurrences', { query })
      if (turn !== this.turn) return
      this.items = found.items
      this.isComplete = found.is_complete
      this.isLoaded = true
      this.problem = null
    } catch (error) {
      if (turn === this.turn) this.problem = asProblem(error)
    }
    for (const year of new Set([from.getFullYear(), to.getFullYear()])) void this.learnDays(year)
  }

  private async learnDays(year: number): Promise<void> {
    if (this.years.has(year)) return
    this.years.add(year)
    try {
      const path = { country: 'RU', year } as never
      const days = await client.call('get', '/api/v1/calendar/working-days/{country}/{year}', { path })
      for (const day of days.free) this.free.set(day, true)
      for (const day of days.worked) this.free.set(day, false)
    } catch {
      this.years.delete(year) // Weekends are shown as such all the same.
    }
  }

  isFree(day: Date): boolean {
    return this.free.get(dayKey(day)) ?? (day.getDay() === 0 || day.getDay() === 6)
  }

  on(day: Date): Planned[] {
    const key = dayKey(day)
    return this.items.filter((item) => dayKey(new Date(item.at)) === key)
  }

  refresh(): void {
    if (this.range !== null) void this.show(...this.range)
  }

  /** Listen to the calendar's events; returns how to stop. */
  follow(): () => void {
    return work().store.listen(({ kind }) => {
      if (!kind.startsWith('calendar.') || this.isWaiting) return
      this.isWaiting = true
      void pause(300).then(() => {
        this.isWaiting = false
        this.refresh()
      })
    })
  }
}

export function dayKey(day: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`
}

export function addDays(day: Date, days: number): Date {
  return new Date(day.getFullYear(), day.getMonth(), day.getDate() + days)
}

/** Weeks begin on Monday. */
function weekOf(day: Date): Date {
  return addDays(day, -((day.getDay() + 6) % 7))
}

/** The days that a view shows around a day. */
export function daysOf(view: View, day: Date): Date[] {
  if (view === 'agenda') return range(new Date(day.getFullYear(), day.getMonth(), day.getDate()), 31)
  if (view === 'week') return range(weekOf(day), 7)
  const first = weekOf(new Date(day.getFullYear(), day.getMonth(), 1))
  const last = new Date(day.getFullYear(), day.getMonth() + 1, 0)
  const weeks = Math.ceil((Math.round((last.getTime() - first.getTime()) / DAY_MS) + 1) / 7)
  return range(first, weeks * 7)
}

function range(first: Date, count: number): Date[] {
  return Array.from({ length: count }, (_, place) => addDays(first, place))
}

/** One view earlier or later. */
export function step(view: View, day: Date, by: number): Date {
  if (view === 'month') return new Date(day.getFullYear(), day.getMonth() + by, 1)
  return addDays(day, by * (view === 'week' ? 7 : 30))
}

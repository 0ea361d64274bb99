/** A thread as the rows that are drawn: days, the "new" line, and messages of one author in groups. */
import type { Message } from '../../api/types'

export type Row =
  | { kind: 'day'; key: string; at: string }
  | { kind: 'new'; key: string }
  | { kind: 'message'; key: string; message: Message; isFirst: boolean }

const GROUP_MS = 5 * 60_000

export function rowsOf(messages: Message[], newAfter: number | null, me: string): Row[] {
  const rows: Row[] = []
  let before: Message | null = null
  let isMarked = newAfter === null
  for (const message of messages) {
    const isNewDay: boolean = before === null || dayOf(before) !== dayOf(message)
    if (isNewDay) rows.push({ kind: 'day', key: `day ${dayOf(message)}`, at: message.created_at })
    const isNew = !isMarked && message.no > newAfter! && message.author_id !== me
    if (isNew) {
      rows.push({ kind: 'new', key: 'new' })
      isMarked = true
    }
    const isFirst = isNewDay || isNew || before === null || !belongsTo(before, message)
    rows.push({ kind: 'message', key: message.id, message, isFirst })
    before = message
  }
  return rows
}

function belongsTo(before: Message, message: Message): boolean {
  if (message.role !== null || before.role !== null || before.author_id !== message.author_id) return false
  if (message.reply_to) return false
  return Date.parse(message.created_at) - Date.parse(before.created_at) < GROUP_MS
}

function dayOf(message: Message): number {
  const at = new Date(message.created_at)
  return (at.getFullYear() * 12 + at.getMonth()) * 31 + at.getDate()
}

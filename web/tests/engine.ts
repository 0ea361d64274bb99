/** A stand-in for the engine: its log, its streams and what it answers, as engine/api tells them. */
import type { Approval, Chat, Message, Run } from '$/api/types'
import { lineOf } from '$/live/chats.svelte'
import type { Source } from '$/live/source'
import type { WireEvent } from '$/live/wire'

export const ME = 'me'
export const OTHER = 'other'
const PAGE = 6
const SHIFT = 1000

interface Room {
  id: string
  title: string
  members: Set<string>
  read: Map<string, number>
  messages: Message[]
  isDeleted: boolean
}
interface Job extends Run {
  fence: number
  n: number
  said: string
  steps: { kind: string; role: string; name: string; status: string }[]
}
interface Logged {
  no: number
  channel: string
  kind: string
  data: Record<string, unknown>
  live: unknown
}
type Deliver = (event: WireEvent) => void

export class Engine {
  rooms = new Map<string, Room>()
  jobs = new Map<string, Job>()
  log: Logged[] = []
  private readers = new Set<{ channels: Set<string>; deliver: Deliver }>()
  private counter = 0

  id(kind: string): string {
    return `${kind}${++this.counter}`
  }

  // What people and roles do.

  openRoom(members: string[]): void {
    const id = this.id('chat')
    const room = { id, title: id, members: new Set(members), read: new Map(), messages: [], isDeleted: false }
    this.rooms.set(id, room)
    for (const member of members) this.announce(member, 'chat.joined', { chat_id: id, user_id: member })
  }

  rename(room: Room): void {
    room.title = this.id('title')
    this.announce(room.id, 'chat.changed', { chat_id: room.id })
  }

  join(room: Room, member: string): void {
    if (room.members.has(member)) return
    room.members.add(member)
    room.read.set(member, room.messages.length)
    this.announce(member, 'chat.joined', { chat_id: room.id, user_id: member })
    this.announce(room.id, 'chat.changed', { chat_id: room.id })
  }

  leave(room: Room, member: string): void {
    if (!room.members.delete(member)) return
    this.announce(member, 'chat.left', { chat_id: room.id, user_id: member })
    this.announce(room.id, 'chat.changed', { chat_id: room.id })
  }

  deleteRoom(room: Room): void {
    for (const job of this.jobs.values()) if (job.chat_id === room.id) this.end(job, 'cancelled')
    for (const member of room.members) this.announce(member, 'chat.deleted', { chat_id: room.id, user_id: member })
    room.isDeleted = true
  }

  post(room: Room, author: string, role: string | null): void {
    const message = this.write(room, { author_id: author, content: this.id('text') })
    room.read.set(author, message.no)
    this.announce(room.id, 'message.created', { message_id: message.id, chat_id: room.id }, { ...message })
    if (role !== null) this.queue(room, message, author, role)
  }

  edit(message: Message): void {
    Object.assign(message, { content: this.id('text'), edited_at: this.id('at') })
    this.tellMessage('message.updated', message)
  }

  erase(message: Message): void {
    Object.assign(message, { content: '', is_deleted: true })
    this.tellMessage('message.deleted', message)
  }

  read(room: Room, person: string, upTo: number): void {
    if (upTo <= (room.read.get(person) ?? 0)) return
    room.read.set(person, upTo)
    this.announce(room.id, 'read', { chat_id: room.id, user_id: person, up_to_no: upTo })
  }

  start(job: Job): void {
    if (job.status !== 'queued' && job.status !== 'running') return
    const kind = job.status === 'running' ? 'run.restarted' : 'run.started'
    Object.assign(job, { status: 'running', fence: job.fence + 1, n: 0, said: '' })
    job.steps = []
    this.tellRun(job, kind, { seq: job.fence * SHIFT })
  }

  speak(job: Job): void {
    if (job.status !== 'running') return
    const text = this.id('word')
    job.said += text
    const seq = job.fence * SHIFT + ++job.n
    this.tell(job.chat_id, null, 'run.delta', { run_id: job.id, message_id: job.answer_id, seq, text })
  }

  useTool(job: Job, status: string): void {
    if (job.status !== 'running') return
    const step = { kind: 'tool', role: job.role, name: 'search', status }
    const begun = job.steps.findLastIndex((one) => one.status === 'started')
    if (status === 'started' || begun < 0) job.steps.push(step)
    else job.steps[begun] = step
    this.tellRun(job, 'run.tool', step)
  }

  end(job: Job, status: 'completed' | 'failed' | 'cancelled'): void {
    if (job.status !== 'running' && !(status === 'cancelled' && job.status === 'queued')) return
    const room = this.rooms.get(job.chat_id)!
    const seq = job.fence * SHIFT + 999
    if (status === 'completed') {
      const validation = { status: 'draft', approvers: ['asker'] }
      const said = { id: job.answer_id, role: job.role, content: job.said, reply_to: job.message_id }
      const answer = this.write(room, { ...said, ai_validated: false, validation })
      const data = { message_id: answer.id, chat_id: room.id }
      this.announce(room.id, 'message.created', data, structuredClone(answer))
    }
    job.status = status
    job.error = status === 'failed' ? { code: 'model_timeout', detail: 'silent' } : null
    this.tellRun(job, `run.${status}`, status === 'failed' ? { seq, ...job.error } : { seq })
  }

  retry(job: Job): void {
    if (job.status !== 'failed' && job.status !== 'cancelled') return
    Object.assign(job, { status: 'queued', error: null, said: '', steps: [] })
    this.tellRun(job, 'run.queued', {})
  }

  sign(message: Message, status: 'approved' | 'edited' | 'rejected'): void {
    if (message.validation?.status !== 'draft') return
    message.validation = { ...message.validation, status, decided_by: OTHER, comment: 'because' }
    message.ai_validated = status !== 'rejected'
    if (status === 'edited') message.content = this.id('text')
    if (status === 'rejected') message.is_withdrawn = true
    this.tellMessage('message.validated', message, { status, by: OTHER })
  }

  // Streams.

  /** Begin to follow; what is told goes through `deliver` until the returned function cuts it. */
  follow(after: number | null, deliver: Deliver): () => void {
    const newest = this.log.length
    const sent = after ?? newest
    const reader = { channels: new Set([ME, ...this.mine().map((room) => room.id)]), deliver }
    deliver({ id: null, kind: 'hello', data: { last_event_id: sent } })
    this.replay(reader, sent)
    for (const job of this.jobs.values()) {
      if (job.status === 'running' && reader.channels.has(job.chat_id)) deliver(snapshotOf(job))
    }
    this.readers.add(reader)
    return () => this.readers.delete(reader)
  }

  private replay(reader: { channels: Set<string>; deliver: Deliver }, after: number): void {
    const missed = this.log.filter((one) => one.no > after && reader.channels.has(one.channel))
    const ofMessages = missed.filter((one) => one.kind.startsWith('message.'))
    const last = new Map(ofMessages.map((one) => [one.data.message_id, one.no]))
    for (const { no, kind, data } of missed) {
      const isLast = kind.startsWith('message.') && last.get(data.message_id) === no
      const message = isLast ? this.find(String(data.message_id)) : undefined
      const shown = message === undefined ? data : { ...data, message: hidden(message) }
      reader.deliver({ id: no, kind, data: structuredClone(shown) })
    }
  }

  private tell(channel: string, no: number | null, kind: string, data: Record<string, unknown>): void {
    for (const reader of this.readers) {
      if (reader.channels.has(channel)) reader.deliver({ id: no, kind, data: structuredClone(data) })
      const { chat_id, user_id } = data
      if (kind === 'chat.joined' && user_id === ME) reader.channels.add(String(chat_id))
      if (kind === 'chat.left' && user_id === ME) reader.channels.delete(String(chat_id))
      if (kind === 'chat.deleted' && user_id === ME) reader.channels.delete(String(chat_id))
    }
  }

  private announce(channel: string, kind: string, data: Record<string, unknown>, live?: Message): void {
    const no = this.log.length + 1
    this.log.push({ no, channel, kind, data, live })
    this.tell(channel, no, kind, live === undefined ? data : { ...data, message: hidden(live) })
  }

  private tellMessage(kind: string, message: Message, more: Record<string, unknown> = {}): void {
    const data = { message_id: message.id, chat_id: message.chat_id, ...more }
    this.announce(message.chat_id, kind, data, structuredClone(message))
  }

  private tellRun(job: Job, kind: string, more: Record<string, unknown>): void {
    const data = { run_id: job.id, chat_id: job.chat_id, role: job.role, message_id: job.answer_id }
    this.announce(job.chat_id, kind, { ...data, ...more })
  }

  // What is asked for.

  private queue(room: Room, message: Message, asker: string, role: string): void {
    const at = message.created_at
    const ids = { id: this.id('run'), chat_id: room.id, message_id: message.id, answer_id: this.id('answer') }
    const plain = { model: null, role_version: null, limit: null, error: null, started_at: null, finished_at: null }
    const state = { status: 'queued', fence: 0, n: 0, said: '', steps: [] }
    const job = { ...ids, ...plain, ...state, role, asker_id: asker, queued_at: at } as unknown as Job
    this.jobs.set(job.id, job)
    this.tellRun(job, 'run.queued', {})
  }

  private write(room: Room, given: Partial<Message>): Message {
    const plain = { id: this.id('message'), author_id: null, role: null, mentions: [], reply_to: null }
    const flags = { is_deleted: false, is_withdrawn: false, edited_at: null, ai_validated: null, validation: null }
    const place = { chat_id: room.id, no: room.messages.length + 1, created_at: this.id('at') }
    const message = { ...plain, ...flags, ...place, content: '', ...given } as Message
    room.messages.push(message)
    return message
  }

  mine(): Room[] {
    return [...this.rooms.values()].filter((room) => room.members.has(ME) && !room.isDeleted)
  }

  find(messageId: string): Message | undefined {
    for (const room of this.rooms.values()) {
      const found = room.messages.find((message) => message.id === messageId)
      if (found !== undefined) return found
    }
    return undefined
  }

  view(room: Room): Chat {
    const last = room.messages.at(-1)
    const numbers = { last_message_no: room.messages.length, last_message_at: last?.created_at ?? 'start' }
    const read_up_to_no = room.read.get(ME) ?? 0
    const unread = room.messages.length - read_up_to_no
    const last_message = last === undefined ? null : lineOf(last)
    const plain = { kind: 'group' as const, roles: [], created_by: ME, created_at: 'start' }
    return { id: room.id, title: room.title, ...plain, members: [...room.members], ...numbers, unread, read_up_to_no, last_message }
  }

  page(chatId: string, before: number | null): Message[] {
    const room = this.mine().find((one) => one.id === chatId)
    const found = (room?.messages ?? []).filter((one) => before === null || one.no < before)
    return structuredClone(found.slice(-PAGE)).reverse()
  }

  pageAfter(chatId: string, no: number): Message[] {
    const room = this.mine().find((one) => one.id === chatId)
    const found = (room?.messages ?? []).filter((one) => one.no > no)
    return structuredClone(found.slice(0, PAGE)).reverse()
  }

  approvals(): Approval[] {
    const drafts = this.mine().flatMap((room) => room.messages.filter((one) => one.validation?.status === 'draft'))
    return drafts.map((message) => ({ message: structuredClone(message) }) as Approval)
  }

  currentRuns(chatId: string | null): Run[] {
    const mine = new Set(this.mine().map((room) => room.id))
    const found = [...this.jobs.values()].filter((job) => mine.has(job.chat_id) && job.status !== 'completed')
    const isAtWork = (job: Job): boolean => job.status === 'queued' || job.status === 'running'
    return structuredClone(found.filter((job) => (chatId === null ? isAtWork(job) : job.chat_id === chatId)))
  }
}

function snapshotOf(job: Job): WireEvent {
  const data = { run_id: job.id, message_id: job.answer_id, seq: job.fence * SHIFT + job.n, text: job.said }
  return { id: null, kind: 'run.snapshot', data }
}

/** An event is one for everybody: a rejected text is not in it. */
function hidden(message: Message): Message {
  if (!message.is_withdrawn) return message
  return { ...message, content: '', validation: { ...message.validation!, comment: null, original: null } }
}

/** What the engine answers, each answer as late as `late` says, read before or after that wait. */
export function sourceOf(engine: Engine, late: () => Promise<void>, isReadFirst: () => boolean): Source {
  async function answer<T>(read: () => T): Promise<T> {
    if (!isReadFirst()) {
      await late()
      return read()
    }
    const found = read()
    await late()
    return found
  }
  return {
    chats: () => answer(() => engine.mine().map((room) => engine.view(room))),
    chat: (id) => answer(() => engine.mine().filter((one) => one.id === id).map((one) => engine.view(one))[0] ?? null),
    page: (id, before) => answer(() => engine.page(id, before)),
    pageAfter: (id, no) => answer(() => engine.pageAfter(id, no)),
    pageAround: (id, no) => answer(() => engine.page(id, no + 3)),
    message: (id) => answer(() => structuredClone(engine.find(id)) ?? null),
    runs: (chatId) => answer(() => engine.currentRuns(chatId)),
    run: (id) => answer(() => structuredClone(engine.jobs.get(id)) ?? null),
    approvals: () => answer(() => engine.approvals()),
  }
}

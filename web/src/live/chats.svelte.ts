/** My chats, with how far each goes and how far I have read. */
import { SvelteMap } from 'svelte/reactivity'
import type { Chat, Message } from '../api/types'
import type { Jobs } from './jobs'
import type { Source } from './source'

export class Chats {
  readonly all = new SvelteMap<string, Chat>()
  private readonly reads = new Map<string, { isStale: boolean }>()

  constructor(
    private readonly source: Source,
    private readonly jobs: Jobs,
    readonly me: string,
    private readonly onGone: (chatId: string) => void,
  ) {}

  replace(chats: Chat[]): void {
    this.reads.clear()
    this.all.clear()
    for (const chat of chats) this.all.set(chat.id, chat)
  }

  forget(chatId: string): void {
    this.reads.delete(chatId)
    this.all.delete(chatId)
  }

  /** Count a message that a chat did not have yet, and show the last one as it is now. */
  count(message: Message): void {
    this.readOnceMore(message.chat_id)
    const chat = this.all.get(message.chat_id)
    if (chat === undefined) return
    if (message.no >= chat.last_message_no) {
      const isNew = message.no > chat.last_message_no
      const last = { last_message_no: message.no, last_message: lineOf(message) }
      const at = isNew ? { last_message_at: message.created_at } : {}
      const unread = Math.max(0, message.no - chat.read_up_to_no)
      this.all.set(chat.id, { ...chat, ...last, ...at, unread })
    }
    // Whoever writes has read what is above.
    if (message.author_id === this.me) this.markRead(chat.id, message.no)
  }

  /** I have read a chat up to a message, here or elsewhere. */
  markRead(chatId: string, upToNo: number): void {
    this.readOnceMore(chatId)
    const chat = this.all.get(chatId)
    if (chat === undefined || upToNo <= chat.read_up_to_no) return
    const unread = Math.max(0, chat.last_message_no - upToNo)
    this.all.set(chatId, { ...chat, read_up_to_no: upToNo, unread })
  }

  /** Read a chat again; if it changes while it is being read, once more. */
  refresh(chatId: string): void {
    if (this.reads.has(chatId)) this.readOnceMore(chatId)
    else this.jobs.run(() => this.read(chatId))
  }

  /** What is being read of a chat may be older than what was just heard of it. */
  private readOnceMore(chatId: string): void {
    const read = this.reads.get(chatId)
    if (read !== undefined) read.isStale = true
  }

  private async read(chatId: string): Promise<void> {
    const mine = { isStale: false }
    this.reads.set(chatId, mine)
    try {
      do {
        mine.isStale = false
        const chat = await this.source.chat(chatId)
        if (this.reads.get(chatId) !== mine) return // Left, or loaded anew, since.
        if (chat === null) this.onGone(chatId)
        else this.know(chat)
      } while (mine.isStale)
    } finally {
      if (this.reads.get(chatId) === mine) this.reads.delete(chatId)
    }
  }

  /** Take a chat as it was read; numbers that have grown since do not shrink. */
  know(chat: Chat): void {
    const known = this.all.get(chat.id)
    const last = known !== undefined && known.last_message_no > chat.last_message_no ? known : chat
    const read_up_to_no = Math.max(chat.read_up_to_no, known?.read_up_to_no ?? 0)
    const { last_message_no, last_message_at, last_message } = last
    const unread = Math.max(0, last_message_no - read_up_to_no)
    this.all.set(chat.id, { ...chat, last_message_no, last_message_at, last_message, read_up_to_no, unread })
  }
}

const LINE_LENGTH = 160

/** How a list of chats shows a message. */
export function lineOf(message: Message): NonNullable<Chat['last_message']> {
  const { author_id, role, is_deleted, is_withdrawn } = message
  const text = is_withdrawn ? '' : [...message.content].slice(0, LINE_LENGTH).join('')
  return { author_id, role, text, is_deleted, is_withdrawn }
}

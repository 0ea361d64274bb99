/** What of one chat is held: a part of its messages without a gap, most often the newest. */
import type { Message } from '../api/types'

export class Thread {
  messages = $state.raw<Message[]>([])
  isLoaded = $state(false)
  /** Whether there is more after what is held: so after a jump to something old. */
  hasNewer = $state(false)
  isLoadingOlder = $state(false)
  isLoadingNewer = $state(false)
  /** The number from which on all is held: a chat's messages are numbered from 1, without gaps. */
  from = $state(1)
  /** Messages heard of since a page was asked for; they are newer than what it says of them. */
  private heard = new Map<string, Message>()

  constructor(readonly chatId: string) {}

  get hasOlder(): boolean {
    return this.from > 1
  }

  /** Take a page, which was asked for before what was heard meanwhile. */
  begin(page: Message[], hasNewer = false): void {
    const known = new Map(page.map((message) => [message.id, message]))
    const newest = page[0]?.no ?? 0
    this.from = page.at(-1)?.no ?? 1
    for (const message of this.heard.values()) {
      if (message.no >= this.from && (!hasNewer || message.no <= newest)) known.set(message.id, message)
    }
    this.messages = inOrder([...known.values()])
    this.heard.clear()
    this.hasNewer = hasNewer
    this.isLoaded = true
  }

  /** Take a page of older or newer messages; what is held is newer than what the page says of it. */
  add(page: Message[]): void {
    const known = new Set(this.messages.map((message) => message.id))
    this.from = Math.min(this.from, page.at(-1)?.no ?? 1)
    this.messages = inOrder([...page.filter((message) => !known.has(message.id)), ...this.messages])
  }

  /** Take a message that was posted or changed, if it lies within what is held. */
  hear(message: Message): void {
    if (!this.isLoaded) {
      this.heard.set(message.id, message)
      return
    }
    const { messages } = this
    const last = messages.at(-1)
    if (last === undefined || message.no > last.no) {
      if (!this.hasNewer) this.messages = [...messages, message]
      return
    }
    const place = placeOf(messages, message.no)
    if (messages[place]?.id === message.id) this.messages = messages.with(place, message)
    else if (message.no >= this.from) this.messages = messages.toSpliced(place, 0, message)
  }

  /** Let the oldest go; they are read again when one scrolls back. */
  dropOldest(most: number): void {
    if (this.messages.length <= most) return
    this.messages = this.messages.slice(-most)
    this.from = this.messages[0]?.no ?? this.from
  }

  /** Let the newest go; they are read again when one scrolls on. */
  dropNewest(most: number): void {
    if (this.messages.length <= most) return
    this.messages = this.messages.slice(0, most)
    this.hasNewer = true
  }

  find(messageId: string): Message | undefined {
    return this.messages.findLast((message) => message.id === messageId)
  }
}

function inOrder(messages: Message[]): Message[] {
  return messages.sort((one, other) => one.no - other.no)
}

/** The first place whose message has at least this number. */
function placeOf(messages: Message[], no: number): number {
  let [low, high] = [0, messages.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (messages[middle]!.no < no) low = middle + 1
    else high = middle
  }
  return low
}

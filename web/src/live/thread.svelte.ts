/** What of one chat is held: its newest messages, without a gap, back to where one has scrolled. */
import type { Message, Page } from '../api/types'

export class Thread {
  messages = $state.raw<Message[]>([])
  /** Where older messages are asked for; null at the chat's beginning. */
  cursor = $state<string | null>(null)
  isLoaded = $state(false)
  isLoadingOlder = $state(false)
  /** Messages heard of since the newest page was asked for; they are newer than what it says of them. */
  private heard = new Map<string, Message>()

  constructor(readonly chatId: string) {}

  /** Take the newest page, which was asked for before what was heard meanwhile. */
  begin(page: Page<Message>): void {
    const known = new Map(page.items.map((message) => [message.id, message]))
    const oldest = page.items.at(-1)?.no ?? 0
    for (const message of this.heard.values()) {
      if (message.no >= oldest || page.next_cursor === null) known.set(message.id, message)
    }
    this.messages = inOrder([...known.values()])
    this.cursor = page.next_cursor
    this.heard.clear()
    this.isLoaded = true
  }

  /** Take a page of older messages. */
  addOlder(page: Page<Message>): void {
    const known = new Set(this.messages.map((message) => message.id))
    const older = page.items.filter((message) => !known.has(message.id))
    this.messages = [...inOrder(older), ...this.messages]
    this.cursor = page.next_cursor
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
      this.messages = [...messages, message]
      return
    }
    const place = placeOf(messages, message.no)
    if (messages[place]?.id === message.id) {
      this.messages = messages.with(place, message)
    } else if (place > 0 || this.cursor === null) {
      this.messages = messages.toSpliced(place, 0, message)
    }
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

/** The drafts that wait for my signature, across chats. */
import type { Approval } from '../api/types'
import { pause, type Jobs } from './jobs'
import type { Source } from './source'

export class Inbox {
  items = $state.raw<Approval[]>([])
  private readonly decided = new Set<string>()
  private readonly mine = new Set<string>()
  private isWaiting = false

  constructor(
    private readonly source: Source,
    private readonly jobs: Jobs,
    private readonly delayMs: number,
  ) {}

  replace(items: Approval[]): void {
    this.decided.clear()
    this.items = items
  }

  /** A draft has had its verdict; what was asked for before may still list it. */
  leave(messageId: string): void {
    this.decided.add(messageId)
    if (this.items.some((one) => one.message.id === messageId)) {
      this.items = this.items.filter((one) => one.message.id !== messageId)
    }
  }

  /** I give it a verdict here: nobody is surprised when it leaves the list. */
  take(messageId: string): void {
    this.mine.add(messageId)
  }

  /** My verdict came to nothing. */
  giveBack(messageId: string): void {
    this.mine.delete(messageId)
  }

  isMine(messageId: string): boolean {
    return this.mine.has(messageId)
  }

  leaveChat(chatId: string): void {
    this.items = this.items.filter((one) => one.message.chat_id !== chatId)
  }

  /** Read it again, once for many events. */
  refreshSoon(): void {
    if (this.isWaiting) return
    this.isWaiting = true
    this.jobs.run(async () => {
      await pause(this.delayMs)
      this.isWaiting = false
      const items = await this.source.approvals()
      this.items = items.filter((one) => !this.decided.has(one.message.id))
    })
  }
}

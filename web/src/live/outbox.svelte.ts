/** Messages on their way: shown at once, sent once, and sent again when the engine was away. */
import { SvelteMap } from 'svelte/reactivity'
import type { Client } from '../api/client'
import { asProblem, type Problem } from '../api/problem'
import type { Posted } from '../api/types'
import type { Store } from './store.svelte'

export interface Pending {
  key: string
  chatId: string
  content: string
  replyTo: string | null
  problem: Problem | null
}

export class Outbox {
  readonly all = new SvelteMap<string, Pending>()

  constructor(
    private readonly client: Client,
    private readonly store: Store,
  ) {}

  of(chatId: string): Pending[] {
    return [...this.all.values()].filter((pending) => pending.chatId === chatId)
  }

  /** Send a message; null when it could not be, and then it stays to be sent again. */
  async send(chatId: string, content: string, replyTo: string | null): Promise<Posted | null> {
    const pending = { key: randomKey(), chatId, content, replyTo, problem: null }
    return this.attempt(pending)
  }

  async sendAgain(pending: Pending): Promise<Posted | null> {
    return this.attempt({ ...pending, problem: null })
  }

  discard(pending: Pending): void {
    this.all.delete(pending.key)
  }

  /** The engine is back: what it did not take is sent now. Its key lets it be posted only once. */
  sendWaiting(): void {
    for (const pending of this.all.values()) if (pending.problem?.isAway) void this.sendAgain(pending)
  }

  private async attempt(pending: Pending): Promise<Posted | null> {
    this.all.set(pending.key, pending)
    try {
      const posted = await this.client.call('post', '/api/v1/chats/{chat_id}/messages', {
        path: { chat_id: pending.chatId },
        body: {
          content: pending.content,
          client_message_id: pending.key,
          ...(pending.replyTo === null ? {} : { reply_to: pending.replyTo }),
        },
      })
      this.store.know(posted.message)
      this.all.delete(pending.key)
      return posted
    } catch (error) {
      this.all.set(pending.key, { ...pending, problem: asProblem(error) })
      return null
    }
  }
}

/** `crypto.randomUUID` is not there on plain HTTP, where many a company's own server is. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

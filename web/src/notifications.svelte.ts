/** What I am told: the newest of it, and how much is unread. */
import type { Client } from './api/client'
import type { Notification } from './api/types'
import type { Store } from './live/store.svelte'
import { desktop } from './desktop.svelte'
import { pause } from './live/jobs'
import { router } from './router.svelte'

const SOON_MS = 200
const PAGE = 30

export class Notifications {
  items = $state.raw<Notification[]>([])
  unread = $state(0)
  cursor = $state<string | null>(null)
  isLoaded = $state(false)
  /** When a test arrived, by channel. */
  tested = $state.raw<{ channelId: string } | null>(null)
  private isWaiting = false
  /** Heard of and not yet read from the engine. */
  private readonly fresh = new Set<string>()

  constructor(
    private readonly client: Client,
    store: Store,
  ) {
    store.listen(({ kind, data }) => {
      if (kind === 'notification.test') this.tested = { channelId: String(data.channel_id) }
      else if (kind.startsWith('notification.')) this.refreshSoon()
      if (kind === 'notification.created') this.fresh.add(String(data.notification_id))
    })
  }

  /** Read the newest again, once for many events. */
  refreshSoon(): void {
    if (this.isWaiting) return
    this.isWaiting = true
    void pause(SOON_MS).then(() => {
      this.isWaiting = false
      return this.refresh().catch(() => {}) // The stream shows that the engine is away, and asks again.
    })
  }

  async refresh(): Promise<void> {
    const page = await this.client.call('get', '/api/v1/notifications', { query: { limit: PAGE } })
    this.items = page.items
    this.unread = page.unread
    this.cursor = page.next_cursor
    this.isLoaded = true
    this.tellDesktop()
  }

  private tellDesktop(): void {
    for (const one of this.items) {
      if (!this.fresh.delete(one.id) || one.read_at !== null || one.headline === null) continue
      const link = one.chat_id === null ? router.link('notifications') : router.link('chats', one.chat_id)
      desktop.show(one.id, one.headline, (one.text ?? '').slice(0, 200), link)
    }
    this.fresh.clear()
  }

  async more(): Promise<void> {
    if (this.cursor === null) return
    const page = await this.client.call('get', '/api/v1/notifications', { query: { limit: PAGE, cursor: this.cursor } })
    this.items = [...this.items, ...page.items]
    this.cursor = page.next_cursor
  }

  /** Mark some as read, or all. */
  async markRead(ids: string[] | null): Promise<void> {
    const { unread } = await this.client.call('post', '/api/v1/notifications/read', { body: { ids } })
    const at = new Date().toISOString()
    this.items = this.items.map((one) => (one.read_at === null && (ids === null || ids.includes(one.id)) ? { ...one, read_at: at } : one))
    this.unread = unread
  }
}

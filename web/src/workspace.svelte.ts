/** What a signed-in person works with: the state, the stream that changes it, and who there is. */
import { Client, baseOf } from './api/client'
import type { User } from './api/types'
import { desktop } from './desktop.svelte'
import { Directory } from './directory.svelte'
import { language } from './i18n/index.svelte'
import { apiSource } from './live/apisource'
import { Outbox } from './live/outbox.svelte'
import { Store } from './live/store.svelte'
import { Stream } from './live/stream.svelte'
import { Notifications } from './notifications.svelte'
import { Session } from './session.svelte'

export const client = new Client(baseOf(document), language)
export const session = new Session(client)

export class Workspace {
  readonly store: Store
  readonly stream: Stream
  readonly outbox: Outbox
  readonly notifications: Notifications
  readonly directory = new Directory(client)

  constructor(readonly me: User) {
    this.store = new Store(apiSource(client), me.id)
    this.outbox = new Outbox(client, this.store)
    this.notifications = new Notifications(client, this.store)
    this.stream = new Stream(this.store, (headers, signal) => client.open('/api/v1/events', headers, signal))
    this.stream.onLive = () => {
      this.outbox.sendWaiting()
      this.notifications.refreshSoon()
    }
  }

  get isAdmin(): boolean {
    return session.user?.role === 'admin'
  }

  /** Begin to follow what happens; returns how to end it. */
  begin(): () => void {
    const hurry = (): void => {
      if (document.visibilityState === 'visible') this.stream.hurry()
    }
    const look = (): void => {
      if (document.visibilityState === 'visible') this.store.inbox.refreshSoon()
    }
    addEventListener('online', hurry)
    document.addEventListener('visibilitychange', hurry)
    // Drafts of chats that I am not in reach no stream of mine.
    const timer = setInterval(look, 60_000)
    void this.stream.follow()
    void this.loadDirectory()
    void desktop.resume(client)
    return () => {
      removeEventListener('online', hurry)
      document.removeEventListener('visibilitychange', hurry)
      clearInterval(timer)
      this.stream.stop()
    }
  }

  private async loadDirectory(): Promise<void> {
    for (let pauseMs = 1_000; ; pauseMs = Math.min(pauseMs * 2, 15_000)) {
      try {
        await this.directory.load()
        return
      } catch {
        await new Promise((resolve) => setTimeout(resolve, pauseMs)) // The stream shows that the engine is away.
      }
    }
  }
}

let current = $state.raw<Workspace | null>(null)

export function enter(workspace: Workspace | null): void {
  current = workspace
}

/** The workspace of whoever is signed in; screens behind the sign-in have one. */
export function work(): Workspace {
  if (current === null) throw new Error('nobody is signed in')
  return current
}

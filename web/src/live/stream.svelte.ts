/** Keeps one stream of events open, whatever the network, the engine or the lid of the laptop does. */
import { asProblem, type Problem } from '../api/problem'
import { pause } from './jobs'
import type { Store } from './store.svelte'
import { EventReader } from './wire'

export type Presence = 'connecting' | 'live' | 'away'

const SILENT_MS = 40_000 // The engine says something every 15 s.
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 15_000
const STEADY_MS = 5_000

export type Open = (headers: Record<string, string>, signal: AbortSignal) => Promise<Response>

export class Stream {
  presence = $state<Presence>('connecting')
  problem = $state.raw<Problem | null>(null)
  /** Told when the engine is heard after a while without it. */
  onLive: () => void = () => {}
  private isStopped = false
  private abort: AbortController | null = null
  private wake: (() => void) | null = null
  private heardAt = 0

  constructor(
    private readonly store: Store,
    private readonly open: Open,
    private readonly wait: (ms: number) => Promise<void> = pause,
  ) {
    store.onFailure((error) => {
      this.problem = asProblem(error)
      this.abort?.abort()
    })
    store.lacksWords = () => this.again()
  }

  /** Follow events until stopped. */
  async follow(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS
    while (!this.isStopped) {
      const openedAt = Date.now()
      const asked = await this.once()
      if (this.isStopped) return
      if (Date.now() - openedAt > STEADY_MS) pauseMs = FIRST_PAUSE_MS
      this.presence = this.presence === 'live' ? 'connecting' : 'away'
      await this.rest(asked ?? pauseMs * (0.75 + Math.random() / 2))
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)
    }
  }

  stop(): void {
    this.isStopped = true
    this.abort?.abort()
    this.wake?.()
  }

  /** Open the stream anew: it begins with all that was said so far. */
  private again(): void {
    this.abort?.abort()
    this.wake?.()
  }

  /** Look at once whether the engine is back: the network has returned, or the page is seen again. */
  hurry(): void {
    if (this.wake !== null) this.wake()
    else if (Date.now() - this.heardAt > SILENT_MS / 2) this.abort?.abort()
  }

  /** Follow one connection to its end; returns a pause that the engine asked for. */
  private async once(): Promise<number | null> {
    const abort = new AbortController()
    this.abort = abort
    this.heardAt = Date.now()
    const watch = setInterval(() => {
      if (Date.now() - this.heardAt > SILENT_MS) abort.abort()
    }, 5_000)
    try {
      const { lastEventId } = this.store
      const headers: Record<string, string> = lastEventId === null ? {} : { 'Last-Event-ID': String(lastEventId) }
      const response = await this.open(headers, abort.signal)
      return await this.read(response.body!.getReader())
    } catch (error) {
      this.failed(error)
      return null
    } finally {
      clearInterval(watch)
      this.abort = null
    }
  }

  /** Whatever it was, the stream is opened again; what cannot be explained begins from the start. */
  private failed(error: unknown): void {
    try {
      this.problem = asProblem(error)
      if (this.problem.code === 'bad_event_id') this.store.startAnew()
    } catch (bug) {
      console.error(bug)
      this.store.startAnew()
    }
  }

  private async read(bytes: ReadableStreamDefaultReader<Uint8Array>): Promise<number | null> {
    const events = new EventReader()
    let asked: number | null = null
    for (;;) {
      const { done, value } = await bytes.read()
      if (done) return asked
      this.heardAt = Date.now()
      if (this.presence !== 'live') this.nowLive()
      for (const event of events.read(value)) {
        if (event.kind === 'reconnect') asked = Number(event.data.retry_ms)
        else this.store.receive(event)
      }
    }
  }

  private nowLive(): void {
    this.presence = 'live'
    this.problem = null
    this.onLive()
  }

  private async rest(ms: number): Promise<void> {
    await Promise.race([this.wait(ms), new Promise<void>((resolve) => (this.wake = resolve))])
    this.wake = null
  }
}

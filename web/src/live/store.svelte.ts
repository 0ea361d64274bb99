/** The one state that screens show: loaded once, then changed by events. */
import { SvelteMap } from 'svelte/reactivity'
import type { Message } from '../api/types'
import { Chats } from './chats.svelte'
import { Inbox } from './inbox.svelte'
import { Jobs } from './jobs'
import { Runs } from './runs.svelte'
import type { Source } from './source'
import { Thread } from './thread.svelte'
import type { WireEvent } from './wire'

type Data = Record<string, unknown>
/** So many messages of a chat are held and drawn while one scrolls through it. */
const MOST_HELD = 300
export type Listener = (event: WireEvent) => void

export class Store {
  readonly chats: Chats
  readonly inbox: Inbox
  readonly runs = new Runs()
  readonly threads = new SvelteMap<string, Thread>()
  isLoaded = $state(false)
  /** What was heard last; a stream that is opened anew goes on after it. */
  lastEventId: number | null = null

  /** Told when a run's first words are not known; a stream that is opened anew brings them. */
  lacksWords: () => void = () => {}

  private readonly jobs = new Jobs()
  private readonly listeners = new Set<Listener>()
  private readonly asked = new Set<string>()
  private readonly entering = new Map<string, object>()
  private waiting: WireEvent[] | null = null

  constructor(
    private readonly source: Source,
    me: string,
    inboxDelayMs = 300,
  ) {
    this.chats = new Chats(source, this.jobs, me, (chatId) => this.forgetChat(chatId))
    this.inbox = new Inbox(source, this.jobs, inboxDelayMs)
    this.jobs.onFailure(() => this.startAnew())
  }

  /** Hear of every event once it has been applied. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Be told when something could not be read: what is shown may lack it, and is to be loaded anew. */
  onFailure(listener: (error: unknown) => void): void {
    this.jobs.onFailure((error) => {
      this.startAnew()
      listener(error)
    })
  }

  /** Forget where the stream was: the next one begins with loading everything. */
  startAnew(): void {
    this.lastEventId = null
    this.waiting = null
  }

  settled(): Promise<void> {
    return this.jobs.settled()
  }

  /** Take one event of the stream. */
  receive(event: WireEvent): void {
    if (event.kind === 'hello') {
      if (this.lastEventId === null) this.loadAnew()
      this.lastEventId = Number(event.data.last_event_id)
      return
    }
    if (event.kind === 'resync') this.loadAnew()
    if (event.id !== null) this.lastEventId = event.id
    if (this.waiting !== null) this.waiting.push(event)
    else this.apply(event)
  }

  /** Load everything, and let events wait meanwhile: they are newer than what is read. */
  private loadAnew(): void {
    const waiting: WireEvent[] = []
    this.waiting = waiting
    this.jobs.run(async () => {
      const { source } = this
      const [chats, runs, drafts] = await Promise.all([source.chats(), source.runs(null), source.approvals()])
      if (this.waiting !== waiting) return // Begun anew since.
      this.entering.clear()
      this.chats.replace(chats)
      this.runs.replace(runs)
      this.inbox.replace(drafts)
      for (const chatId of this.threads.keys()) {
        if (this.chats.all.has(chatId)) this.reopen(chatId)
        else this.threads.delete(chatId)
      }
      this.isLoaded = true
      this.waiting = null
      for (const event of waiting) this.apply(event)
    })
  }

  // Threads.

  /** Hold a chat's messages from now on. */
  open(chatId: string): Thread {
    return this.threads.get(chatId) ?? this.reopen(chatId)
  }

  private reopen(chatId: string): Thread {
    const thread = new Thread(chatId)
    this.threads.set(chatId, thread)
    this.jobs.run(async () => {
      const [page, runs] = await Promise.all([this.source.page(chatId, null), this.source.runs(chatId)])
      if (this.threads.get(chatId) !== thread) return
      thread.begin(page)
      this.runs.addMissing(runs)
    })
    return thread
  }

  /** Begin with the newest messages again, after a jump to something old. */
  toNewest(chatId: string): void {
    if (this.threads.get(chatId)?.hasNewer) this.reopen(chatId)
  }

  async loadOlder(thread: Thread): Promise<void> {
    if (!thread.isLoaded || thread.isLoadingOlder || !thread.hasOlder) return
    thread.isLoadingOlder = true
    try {
      thread.add(await this.source.page(thread.chatId, thread.from))
      thread.dropNewest(MOST_HELD)
    } finally {
      thread.isLoadingOlder = false
    }
  }

  async loadNewer(thread: Thread): Promise<void> {
    const last = thread.messages.at(-1)
    if (last === undefined || thread.isLoadingNewer || !thread.hasNewer) return
    thread.isLoadingNewer = true
    try {
      thread.add(await this.source.pageAfter(thread.chatId, last.no))
      thread.hasNewer = this.goesOnAfter(thread)
      thread.dropOldest(MOST_HELD)
    } finally {
      thread.isLoadingNewer = false
    }
  }

  /** Hold the messages around one that is not held. */
  async jump(chatId: string, no: number): Promise<Thread> {
    const thread = new Thread(chatId)
    this.threads.set(chatId, thread)
    thread.begin(await this.source.pageAround(chatId, no), true)
    thread.hasNewer = this.goesOnAfter(thread)
    return thread
  }

  private goesOnAfter(thread: Thread): boolean {
    const end = this.chats.all.get(thread.chatId)?.last_message_no ?? 0
    return (thread.messages.at(-1)?.no ?? 0) < end
  }

  /** Take a message as it is now: from an event, or from the answer to one's own request. */
  know(message: Message): void {
    this.threads.get(message.chat_id)?.hear(message)
    this.chats.count(message)
  }

  // Events.

  private apply(event: WireEvent): void {
    const { kind, data } = event
    const chatId = String(data.chat_id)
    if (kind.startsWith('message.')) this.applyMessage(kind, data)
    else if (kind.startsWith('run.')) this.applyRun(kind, data)
    else if (kind === 'read' && data.user_id === this.chats.me) this.chats.markRead(chatId, Number(data.up_to_no))
    else if (kind === 'chat.left' || kind === 'chat.deleted') this.forgetChat(chatId)
    else if (kind === 'chat.changed') this.chats.refresh(chatId)
    else if (kind === 'chat.joined') this.enter(chatId)
    for (const listener of this.listeners) listener(event)
  }

  private applyMessage(kind: string, data: Data): void {
    if (kind === 'message.validated') this.inbox.leave(String(data.message_id))
    const message = data.message as Message | undefined
    if (message === undefined) return // A later event of the same page carries it.
    this.know(message)
    const status = message.validation?.status
    if (status === 'draft') this.inbox.refreshSoon()
    if (status === 'rejected') this.readRejected(message)
  }

  /** The event hides a rejected text from everybody; some may read it still. */
  private readRejected(message: Message): void {
    if (!this.threads.has(message.chat_id)) return
    this.jobs.run(async () => {
      const mine = await this.source.message(message.id)
      if (mine !== null) this.threads.get(message.chat_id)?.hear(mine)
    })
  }

  private applyRun(kind: string, data: Data): void {
    const run = this.runs.of(String(data.run_id))
    run.take(kind, data)
    if (!run.isWhole && kind === 'run.delta') this.lacksWords()
    if (run.role === '' || (run.askerId === null && run.status !== 'completed')) this.learnOf(run.id)
  }

  /** Ask who called a run, and where: not every event says it. */
  private learnOf(runId: string): void {
    if (this.asked.has(runId)) return
    this.asked.add(runId)
    this.jobs.run(async () => {
      try {
        const run = await this.source.run(runId)
        if (run === null) this.runs.all.delete(runId)
        else this.runs.all.get(runId)?.know(run)
      } finally {
        this.asked.delete(runId)
      }
    })
  }

  /** A chat has become mine, with all that goes on in it. */
  private enter(chatId: string): void {
    this.chats.refresh(chatId)
    this.inbox.refreshSoon()
    const mine = {}
    this.entering.set(chatId, mine)
    this.jobs.run(async () => {
      const found = await this.source.runs(chatId)
      if (this.entering.get(chatId) !== mine) return // Left, or loaded anew, since.
      this.entering.delete(chatId)
      this.runs.addMissing(found)
      if (found.some((run) => run.status === 'running')) this.lacksWords()
    })
  }

  private forgetChat(chatId: string): void {
    this.entering.delete(chatId)
    this.chats.forget(chatId)
    this.threads.delete(chatId)
    this.runs.dropChat(chatId)
    this.inbox.leaveChat(chatId)
    this.inbox.refreshSoon()
  }
}

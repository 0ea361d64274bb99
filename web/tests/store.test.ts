import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Store } from '$/live/store.svelte'
import { Engine, ME, OTHER, sourceOf } from './engine'

/** Something that happens, to which chat, message or run, and how many turns of the loop pass before it. */
interface Act {
  what: (typeof ACTS)[number]
  which: number
  turns: number
}

const ACTS = [
  'postMine', 'postTheirs', 'ask', 'askTheirs', 'edit', 'erase', 'readMine', 'readTheirs', 'start', 'speak',
  'speak2', 'tool', 'toolDone', 'complete', 'fail', 'cancel', 'retry', 'approve', 'amend', 'reject', 'rename',
  'join', 'leave', 'room', 'deleteRoom', 'cut', 'connect', 'look',
] as const // prettier-ignore

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve()
}

class Client {
  readonly store: Store
  private cut: (() => void) | null = null

  constructor(
    private readonly engine: Engine,
    late: number[] = [0],
  ) {
    let call = 0
    const next = (): number => late[call++ % late.length] ?? 0
    const source = sourceOf(engine, () => turns(next() % 12), () => next() % 2 === 0)
    this.store = new Store(source, ME, 0)
    this.store.lacksWords = () => {
      if (this.cut === null) return
      this.disconnect()
      this.connect()
    }
  }

  connect(): void {
    this.cut ??= this.engine.follow(this.store.lastEventId, (event) => this.store.receive(event))
  }

  disconnect(): void {
    this.cut?.()
    this.cut = null
  }
}

function act(engine: Engine, client: Client, { what, which }: Act): void {
  const pick = <T>(from: T[]): T | undefined => from[which % from.length]
  const mine = engine.mine()
  const room = pick(mine)
  const job = pick([...engine.jobs.values()])
  const messages = mine.flatMap((one) => one.messages)
  const own = pick(messages.filter((message) => message.author_id !== null && !message.is_deleted))
  const draft = pick(messages.filter((message) => message.validation?.status === 'draft'))
  const happenings: Record<(typeof ACTS)[number], () => void> = {
    postMine: () => room && engine.post(room, ME, null),
    postTheirs: () => room && engine.post(room, OTHER, null),
    ask: () => room && engine.post(room, ME, 'lawyer'),
    askTheirs: () => room && engine.post(room, OTHER, 'hr'),
    edit: () => own && engine.edit(own),
    erase: () => own && engine.erase(own),
    readMine: () => room && engine.read(room, ME, which % (room.messages.length + 1)),
    readTheirs: () => room && engine.read(room, OTHER, room.messages.length),
    start: () => job && engine.start(job),
    speak: () => job && engine.speak(job),
    speak2: () => job && engine.speak(job),
    tool: () => job && engine.useTool(job, 'started'),
    toolDone: () => job && engine.useTool(job, 'ok'),
    complete: () => job && engine.end(job, 'completed'),
    fail: () => job && engine.end(job, 'failed'),
    cancel: () => job && engine.end(job, 'cancelled'),
    retry: () => job && engine.retry(job),
    approve: () => draft && engine.sign(draft, 'approved'),
    amend: () => draft && engine.sign(draft, 'edited'),
    reject: () => draft && engine.sign(draft, 'rejected'),
    rename: () => room && engine.rename(room),
    join: () => void (pick([...engine.rooms.values()].filter((one) => !one.isDeleted)) && joinAny(engine, which)),
    leave: () => room && engine.leave(room, ME),
    room: () => engine.openRoom([ME, OTHER]),
    deleteRoom: () => room && which % 3 === 0 && engine.deleteRoom(room),
    cut: () => client.disconnect(),
    connect: () => client.connect(),
    look: () => room && client.store.chats.all.has(room.id) && client.store.open(room.id),
  }
  happenings[what]()
}

function joinAny(engine: Engine, which: number): void {
  const rooms = [...engine.rooms.values()].filter((one) => !one.isDeleted)
  engine.join(rooms[which % rooms.length]!, ME)
}

/** All that a store shows, as plain values that can be compared. */
function picture(store: Store): Record<string, unknown> {
  const byId = <T extends { id: string }>(all: T[]): T[] => all.sort((one, other) => one.id.localeCompare(other.id))
  // What ended without an answer is known of chats that were opened; steps, of answers that were watched.
  const runs = [...store.runs.all.values()].filter((run) => run.isAtWork || (run.status !== 'completed' && store.threads.has(run.chatId)))
  return {
    chats: byId([...store.chats.all.values()]),
    inbox: store.inbox.items.map((one) => one.message).sort((one, other) => one.id.localeCompare(other.id)),
    runs: byId(
      runs.map(({ id, chatId, role, answerId, questionId, askerId, status, said, error }) => {
        return { id, chatId, role, answerId, questionId, askerId, status, said, error }
      }),
    ),
  }
}

async function settle(client: Client): Promise<void> {
  await client.store.settled()
  await new Promise((resolve) => setTimeout(resolve, 0))
  await client.store.settled()
}

async function sameAsFresh(acts: Act[], late: number[]): Promise<void> {
  const engine = new Engine()
  engine.openRoom([ME, OTHER])
  engine.openRoom([ME, OTHER])
  const client = new Client(engine, late)
  client.connect()
  for (const one of acts) {
    await turns(one.turns)
    act(engine, client, one)
  }
  client.connect()
  await settle(client)
  const fresh = new Client(engine)
  fresh.connect()
  await settle(fresh)
  for (const chatId of client.store.threads.keys()) fresh.store.open(chatId)
  await settle(fresh)

  expect(picture(client.store)).toEqual(picture(fresh.store))
  for (const [chatId, thread] of client.store.threads) {
    const whole = fresh.store.open(chatId)
    await settle(fresh)
    const first = whole.messages[0]?.no ?? 0
    expect(thread.messages.filter((message) => message.no >= first)).toEqual(whole.messages)
    expect(new Set(thread.messages.map((message) => message.no)).size).toBe(thread.messages.length)
  }
}

const anAct = fc.record({ what: fc.constantFrom(...ACTS), which: fc.nat(20), turns: fc.nat(9) })

test('whatever happens and however often the stream is cut, it ends in the state of a fresh load', async () => {
  const acts = fc.array(anAct, { minLength: 10, maxLength: 120 })
  const late = fc.array(fc.nat(30), { minLength: 1, maxLength: 9 })
  await fc.assert(fc.asyncProperty(acts, late, sameAsFresh), { numRuns: 400 })
}, 60_000)

/** Runs: who is at work, what has been said so far, and what did not work out. */
import { SvelteMap } from 'svelte/reactivity'
import type { Run } from '../api/types'

export type RunStatus = 'queued' | 'running' | 'completed' | 'failed' | 'cancelled'
export interface Step {
  kind: string
  role: string
  name: string
  status: string
  detail?: string
}
export interface RunError {
  code: string
  detail: string
}

export class LiveRun {
  chatId = $state('')
  role = $state('')
  answerId = $state('')
  questionId = $state<string | null>(null)
  askerId = $state<string | null>(null)
  status = $state<RunStatus>('running')
  said = $state('')
  steps = $state.raw<Step[]>([])
  error = $state.raw<RunError | null>(null)
  since = $state<string | null>(null)
  /** The number of the last word taken. */
  seq = -1
  /** Whether its words are known from the first on: not so when one came into the chat while it spoke. */
  isWhole = false

  constructor(readonly id: string) {}

  get isAtWork(): boolean {
    return this.status === 'queued' || this.status === 'running'
  }

  /** Take what the API says of a run; words are not in it. */
  know(run: Run): void {
    this.chatId = run.chat_id
    this.role = run.role
    this.answerId = run.answer_id
    this.questionId = run.message_id
    this.askerId = run.asker_id
    this.since = run.started_at ?? run.queued_at
  }

  /** Take where a run stands, as the API says it. */
  settle(run: Run): void {
    this.know(run)
    this.status = run.status as RunStatus
    this.error = run.error ? { code: run.error.code ?? '', detail: run.error.detail ?? '' } : null
  }

  take(kind: string, data: Record<string, unknown>): void {
    if (typeof data.role === 'string' && kind !== 'run.tool') this.role = data.role
    if (typeof data.chat_id === 'string') this.chatId = data.chat_id
    if (typeof data.message_id === 'string') this.answerId = data.message_id
    if (kind !== 'run.delta' && kind !== 'run.tool') this.isWhole = true
    else if (!this.isWhole) return
    const turn = TURNS[kind]
    if (turn !== undefined) turn(this, data)
  }

  forgetWords(): void {
    this.said = ''
    this.seq = -1
    this.error = null
  }
}

type Turn = (run: LiveRun, data: Record<string, unknown>) => void

const begin: Turn = (run) => {
  run.forgetWords()
  run.steps = []
  run.status = 'running'
  run.since = new Date().toISOString()
}

const TURNS: Record<string, Turn> = {
  'run.queued': (run) => {
    run.forgetWords()
    run.steps = []
    run.status = 'queued'
  },
  'run.started': begin,
  'run.restarted': begin,
  'run.snapshot': (run, data) => {
    run.said = String(data.text)
    run.seq = Number(data.seq)
    run.status = 'running'
  },
  'run.delta': (run, data) => {
    const seq = Number(data.seq)
    if (seq <= run.seq) return
    run.said += String(data.text)
    run.seq = seq
  },
  'run.tool': (run, data) => {
    run.steps = withStep(run.steps, data as unknown as Step)
  },
  'run.completed': (run) => {
    run.forgetWords()
    run.status = 'completed'
  },
  'run.failed': (run, data) => {
    run.forgetWords()
    run.status = 'failed'
    run.error = { code: String(data.code ?? ''), detail: String(data.detail ?? '') }
  },
  'run.cancelled': (run) => {
    run.forgetWords()
    run.status = 'cancelled'
  },
}

/** A step's end takes the place of its beginning. */
function withStep(steps: Step[], { kind, role, name, status, detail }: Step): Step[] {
  const step: Step = { kind, role, name, status, ...(detail === undefined ? {} : { detail }) }
  const begun = steps.findLastIndex((one) => one.name === name && one.role === role && one.status === 'started')
  return status === 'started' || begun < 0 ? [...steps, step] : steps.with(begun, { ...steps[begun], ...step })
}

export class Runs {
  readonly all = new SvelteMap<string, LiveRun>()

  replace(runs: Run[]): void {
    this.all.clear()
    for (const run of runs) this.of(run.id).settle(run)
  }

  /** Take runs of a chat that was just opened; what events have said of some is newer. */
  addMissing(runs: Run[]): void {
    for (const run of runs) if (!this.all.has(run.id)) this.of(run.id).settle(run)
  }

  of(runId: string): LiveRun {
    let run = this.all.get(runId)
    if (run === undefined) this.all.set(runId, (run = new LiveRun(runId)))
    return run
  }

  /** Runs of a chat that are at work or were given up, the oldest first. */
  inChat(chatId: string): LiveRun[] {
    return [...this.all.values()].filter((run) => run.chatId === chatId && run.status !== 'completed')
  }

  atWorkIn(chatId: string): LiveRun[] {
    return this.inChat(chatId).filter((run) => run.isAtWork)
  }

  /** The run whose answer a message is, if it was seen at work. */
  ofAnswer(messageId: string): LiveRun | undefined {
    for (const run of this.all.values()) if (run.answerId === messageId) return run
    return undefined
  }

  dropChat(chatId: string): void {
    for (const run of this.all.values()) if (run.chatId === chatId) this.all.delete(run.id)
  }
}

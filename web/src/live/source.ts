/** Where the state is read from: the API, or a test's stand-in. */
import type { Approval, Chat, Message, Page, Run } from '../api/types'

export interface Source {
  chats(): Promise<Chat[]>
  chat(chatId: string): Promise<Chat | null>
  page(chatId: string, before: string | null): Promise<Page<Message>>
  message(messageId: string): Promise<Message | null>
  /** Runs of my chats, or of one, that have no answer: at work, waiting, or given up. */
  runs(chatId: string | null): Promise<Run[]>
  run(runId: string): Promise<Run | null>
  approvals(): Promise<Approval[]>
}

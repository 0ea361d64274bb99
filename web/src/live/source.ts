/** Where the state is read from: the API, or a test's stand-in. */
import type { Approval, Chat, Message, Run } from '../api/types'

export interface Source {
  chats(): Promise<Chat[]>
  chat(chatId: string): Promise<Chat | null>
  /** A page of a chat's messages, newest first: the last ones before a number, or the newest. */
  page(chatId: string, beforeNo: number | null): Promise<Message[]>
  pageAfter(chatId: string, no: number): Promise<Message[]>
  pageAround(chatId: string, no: number): Promise<Message[]>
  message(messageId: string): Promise<Message | null>
  /** Runs that wait or work in my chats; of one chat also those that ended without an answer. */
  runs(chatId: string | null): Promise<Run[]>
  run(runId: string): Promise<Run | null>
  approvals(): Promise<Approval[]>
}

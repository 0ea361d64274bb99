/** The state as the API gives it. */
import type { Client } from '../api/client'
import { Problem } from '../api/problem'
import type { Approval, Chat, Message, Page } from '../api/types'
import type { Source } from './source'

const MOST_CHATS = 500
const PAGE = 60

/** Read all pages of a list, up to a number that a screen can still show. */
export async function everything<Item>(
  read: (cursor: string | undefined) => Promise<Page<Item>>,
  most: number,
): Promise<Item[]> {
  const all: Item[] = []
  let cursor: string | undefined
  do {
    const page = await read(cursor)
    all.push(...page.items)
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined && all.length < most)
  return all
}

/** Read one thing; null when it does not exist, or not for me. */
async function maybe<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof Problem && (error.status === 404 || error.status === 403)) return null
    throw error
  }
}

/** The page before a number, asked for by its middle. */
function before(no: number): { around_no: number; limit: number } {
  const limit = Math.max(1, Math.min(PAGE, no - 1))
  return { around_no: Math.max(0, no - Math.floor(limit / 2) - 1), limit }
}

export function apiSource(client: Client): Source {
  async function history(chatId: string, query: { limit: number; around_no?: number; after_no?: number }): Promise<Message[]> {
    return (await client.call('get', '/api/v1/chats/{chat_id}/messages', { path: { chat_id: chatId }, query })).items
  }
  return {
    chats: () =>
      everything<Chat>((cursor) => client.call('get', '/api/v1/chats', { query: { cursor, limit: 100 } }), MOST_CHATS),
    chat: (chatId) => maybe(client.call('get', '/api/v1/chats/{chat_id}', { path: { chat_id: chatId } })),
    page: (chatId, beforeNo) => (beforeNo === null ? history(chatId, { limit: PAGE }) : history(chatId, before(beforeNo))),
    pageAfter: (chatId, no) => history(chatId, { after_no: no, limit: PAGE }),
    pageAround: (chatId, no) => history(chatId, { around_no: no, limit: PAGE }),
    message: (id) => maybe(client.call('get', '/api/v1/messages/{message_id}', { path: { message_id: id } })),
    runs: async (chatId) => {
      const query = chatId === null ? {} : { chat_id: chatId }
      return (await maybe(client.call('get', '/api/v1/runs', { query })))?.items ?? []
    },
    run: (runId) => maybe(client.call('get', '/api/v1/runs/{run_id}', { path: { run_id: runId } })),
    approvals: () =>
      everything<Approval>((cursor) => client.call('get', '/api/v1/approvals', { query: { cursor, limit: 100 } }), 300),
  }
}

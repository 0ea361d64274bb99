/** The state as the API gives it. */
import type { Client } from '../api/client'
import { Problem } from '../api/problem'
import type { Approval, Chat, Page } from '../api/types'
import type { Source } from './source'

const MOST_CHATS = 500

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

export function apiSource(client: Client): Source {
  return {
    chats: () =>
      everything<Chat>((cursor) => client.call('get', '/api/v1/chats', { query: { cursor, limit: 100 } }), MOST_CHATS),
    chat: (chatId) => maybe(client.call('get', '/api/v1/chats/{chat_id}', { path: { chat_id: chatId } })),
    page: (chatId, before) =>
      client.call('get', '/api/v1/chats/{chat_id}/messages', {
        path: { chat_id: chatId },
        query: { limit: 60, ...(before === null ? {} : { before }) },
      }),
    message: async () => null,
    runs: async () => [],
    run: (runId) => maybe(client.call('get', '/api/v1/runs/{run_id}', { path: { run_id: runId } })),
    approvals: () =>
      everything<Approval>((cursor) => client.call('get', '/api/v1/approvals', { query: { cursor, limit: 100 } }), 300),
  }
}

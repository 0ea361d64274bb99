/** How chats, people and roles are called, and who may do what with them. */
import type { Chat, Message } from '../api/types'
import { isKey, t } from '../i18n/index.svelte'
import type { LiveRun } from '../live/runs.svelte'
import { router } from '../router.svelte'
import { client, session, work } from '../workspace.svelte'

/** A direct chat is called by the other person, unless it was given a name of its own. */
export function chatName(chat: Chat): string {
  if (chat.kind !== 'direct') return chat.title
  const other = chat.members.find((id) => id !== session.user?.id)
  return other === undefined ? chat.title || t('chat.untitled') : work().directory.name(other)
}

/** Open the direct chat with somebody; the first time it is made. */
export async function openDirect(userId: string): Promise<void> {
  const { store, directory } = work()
  let chat = [...store.chats.all.values()].find((one) => one.kind === 'direct' && one.members.length === 2 && one.members.includes(userId))
  if (chat === undefined) {
    const body = { title: directory.name(userId), kind: 'direct' as const, members: [userId], roles: [] }
    chat = await client.call('post', '/api/v1/chats', { body })
    store.chats.know(chat)
  }
  router.go('chats', chat.id)
}

export function authorName(message: Message): string {
  const { directory } = work()
  return message.role !== null ? directory.roleName(message.role) : directory.name(message.author_id)
}

export function approverName(approver: string): string {
  if (approver === 'asker' || approver === 'admins' || approver === 'members') return t(`approver.${approver}`)
  const { directory } = work()
  const user = [...directory.users.values()].find((one) => one.username === approver)
  return user?.display_name ?? `@${approver}`
}

/** Whether the policy of a draft lets me sign it; the engine checks it again. */
export function maySign(message: Message, askerId: string | null): boolean {
  const { validation } = message
  const me = session.user
  if (validation?.status !== 'draft' || me === null) return false
  const { approvers } = validation
  return (
    (approvers.includes('admins') && me.role === 'admin') ||
    approvers.includes('members') ||
    approvers.some((one) => one.toLowerCase() === me.username.toLowerCase()) ||
    (approvers.includes('asker') && askerId === me.id)
  )
}

/** Whether I may stop or repeat a run: who asked may, and administrators in the chat. */
export function mayHandle(run: LiveRun): boolean {
  return run.askerId === session.user?.id || session.user?.role === 'admin'
}

export function mayManage(chat: Chat): boolean {
  return chat.created_by === session.user?.id || session.user?.role === 'admin'
}

export function toolName(name: string): string {
  const key = `tool.${name}`
  return isKey(key) ? t(key) : name
}

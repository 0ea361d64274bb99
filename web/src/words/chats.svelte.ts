/** How chats, people and roles are called, and who may do what with them. */
import type { Chat, Message } from '../api/types'
import { isKey, t } from '../i18n/index.svelte'
import type { LiveRun } from '../live/runs.svelte'
import { session, work } from '../workspace.svelte'

/** A direct chat is called by the other person, unless it was given a name of its own. */
export function chatName(chat: Chat): string {
  if (chat.kind !== 'direct') return chat.title
  const other = chat.members.find((id) => id !== session.user?.id)
  return other === undefined ? chat.title || t('chat.untitled') : work().directory.name(other)
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

/** Who may be meant by a mention that is being typed. */
import type { Chat } from '../../api/types'
import { fold, type Typing } from '../../words/mentions'
import { session, work } from '../../workspace.svelte'

export interface Suggestion {
  kind: 'user' | 'role'
  key: string
  name: string
  about: string
  insert: string
}

const MOST = 8

export function suggest(typing: Typing, chat: Chat): Suggestion[] {
  const query = fold(typing.query)
  const roles = rolesIn(chat).filter((one) => fits(one, query))
  if (typing.sign === '@@') return roles.slice(0, MOST)
  const people = peopleIn(chat).filter((one) => fits(one, query))
  return [...people, ...roles].slice(0, MOST)
}

function fits({ name, insert }: Suggestion, query: string): boolean {
  return query === '' || [name, insert.replace(/^@+/, '')].some((word) => fold(word).split(' ').some((part) => part.startsWith(query)) || fold(word).startsWith(query))
}

/** The roles that may be called in a chat. */
export function rolesIn(chat: Chat): Suggestion[] {
  const { directory } = work()
  return directory.roles
    .filter((role) => role.enabled && (chat.roles.length === 0 || chat.roles.includes(role.code)))
    .map((role) => {
      const name = directory.roleName(role.code)
      return { kind: 'role', key: role.code, name, about: directory.roleAbout(role), insert: `@@${role.code}` }
    })
}

function peopleIn(chat: Chat): Suggestion[] {
  const { directory } = work()
  return chat.members
    .filter((id) => id !== session.user?.id)
    .flatMap((id) => {
      const user = directory.users.get(id)
      if (user === undefined || !user.is_active) return []
      return [{ kind: 'user' as const, key: user.id, name: user.display_name, about: `@${user.username}`, insert: `@${user.username}` }]
    })
}

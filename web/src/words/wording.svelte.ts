/** What rendering a text needs to know: who can be named, and words for what is not shown. */
import { language, t } from '../i18n/index.svelte'
import { session, work } from '../workspace.svelte'
import type { Wording } from './markdown'
import { fold, type Names } from './mentions'

let known: { key: unknown[]; wording: Wording } | null = null

export function names(): Names {
  return wording().names
}

/** The same object until people, roles or the language change. */
export function wording(): Wording {
  const { directory } = work()
  const users = [...directory.users.values()]
  const key = [directory.roles, users.length, language(), session.user?.username]
  if (known !== null && key.every((part, place) => part === known!.key[place])) return known.wording
  const roles = new Map<string, string>()
  for (const role of directory.roles) {
    for (const name of [role.code, ...Object.values(role.name)]) roles.set(fold(name), role.code)
  }
  const wording: Wording = {
    names: { roles, users: new Set(users.map((user) => user.username.toLowerCase())) },
    me: session.user?.username.toLowerCase() ?? '',
    image: (what) => t('message.image', { what }),
    foreign: (where) => t('message.foreign', { where }),
    copy: t('do.copy'),
  }
  known = { key, wording }
  return wording
}

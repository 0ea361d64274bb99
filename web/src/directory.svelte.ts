/** Who there is: the people of the organization, and its roles. */
import { SvelteMap } from 'svelte/reactivity'
import type { Client } from './api/client'
import type { Role, User } from './api/types'
import { language } from './i18n/index.svelte'
import { everything } from './live/apisource'

const MOST_USERS = 1000
const SOON_MS = 10_000

export class Directory {
  readonly users = new SvelteMap<string, User>()
  roles = $state.raw<Role[]>([])
  private readAt = 0
  private reading: Promise<void> | null = null

  constructor(private readonly client: Client) {}

  async load(): Promise<void> {
    await Promise.all([this.loadUsers(), this.loadRoles()])
  }

  async loadUsers(): Promise<void> {
    this.readAt = Date.now()
    const users = await everything<User>(
      (cursor) => this.client.call('get', '/api/v1/users', { query: { cursor, limit: 100 } }),
      MOST_USERS,
    )
    for (const user of users) this.users.set(user.id, user)
  }

  async loadRoles(): Promise<void> {
    this.roles = (await this.client.call('get', '/api/v1/roles')).items
  }

  know(user: User): void {
    this.users.set(user.id, user)
  }

  /** A person's name; somebody who is not known yet has come since the list was read. */
  name(userId: string | null): string {
    if (userId === null) return ''
    const user = this.users.get(userId)
    if (user === undefined) this.readSoon()
    return user?.display_name ?? '…'
  }

  private readSoon(): void {
    if (this.reading !== null || Date.now() - this.readAt < SOON_MS) return
    this.reading = this.loadUsers()
      .catch(() => {})
      .finally(() => (this.reading = null))
  }

  role(code: string): Role | undefined {
    return this.roles.find((role) => role.code === code)
  }

  roleName(code: string): string {
    const name = this.role(code)?.name
    return name?.[language()] ?? name?.ru ?? code
  }

  roleAbout(role: Role): string {
    return role.description[language()] ?? role.description.ru ?? ''
  }

  get active(): User[] {
    return [...this.users.values()]
      .filter((user) => user.is_active)
      .sort((one, other) => one.display_name.localeCompare(other.display_name, language()))
  }
}

/** Who is signed in. The access token lives in memory only; the refresh token is a cookie no script reads. */
import type { Client, Credentials } from './api/client'
import { asProblem, type Problem } from './api/problem'
import type { SignedIn, User } from './api/types'

export type Standing = 'starting' | 'away' | 'out' | 'newcomer' | 'in'

const EARLY_MS = 30_000

export class Session implements Credentials {
  standing = $state<Standing>('starting')
  user = $state.raw<User | null>(null)
  organization = $state.raw<SignedIn['organization'] | null>(null)
  private access: { token: string; until: number } | null = null
  private renewing: Promise<string | null> | null = null
  private readonly tabs = new BroadcastChannel('rugpt-session')

  constructor(private readonly client: Client) {
    client.credentials = this
    // Another tab has left, or is somebody else now: this one must not go on as who it was.
    this.tabs.onmessage = () => location.reload()
  }

  /** Go on with the session that this browser has, if any. */
  async start(): Promise<void> {
    try {
      this.take(await this.refresh())
    } catch (error) {
      this.standing = asProblem(error).isAway ? 'away' : 'out'
    }
  }

  async signIn(login: string, password: string, organization: string | null): Promise<void> {
    const named = login.includes('@') && !login.startsWith('@') ? { email: login } : { username: login }
    const body = { ...named, password, ...(organization === null ? {} : { organization }) }
    this.take(await this.client.call('post', '/api/v1/auth/login', { body }))
    this.tabs.postMessage('changed')
  }

  async register(body: RegisterBody): Promise<void> {
    this.take(await this.client.call('post', '/api/v1/auth/register', { body }))
    this.tabs.postMessage('changed')
  }

  async changePassword(current: string, next: string): Promise<void> {
    const body = { current_password: current, new_password: next }
    this.take(await this.client.call('post', '/api/v1/auth/password', { body }))
  }

  async signOut(): Promise<void> {
    try {
      await this.client.call('post', '/api/v1/auth/logout')
    } catch (error) {
      if (asProblem(error).isAway) throw error // The cookie would still be good.
    }
    this.end()
    this.tabs.postMessage('changed')
  }

  knowUser(user: User): void {
    this.user = user
  }

  knowOrganization({ id, name, slug }: SignedIn['organization']): void {
    this.organization = { id, name, slug }
  }

  async token(): Promise<string | null> {
    if (this.access === null) return null
    if (Date.now() < this.access.until - EARLY_MS) return this.access.token
    return this.renew(this.access.token)
  }

  /** Get a new access token; null when the session is over. Many callers at once ask once. */
  async renew(refused: string): Promise<string | null> {
    if (this.access !== null && this.access.token !== refused) return this.access.token
    this.renewing ??= this.renewOnce().finally(() => (this.renewing = null))
    return this.renewing
  }

  private async renewOnce(): Promise<string | null> {
    try {
      this.take(await this.refresh())
      return this.access!.token
    } catch (error) {
      const problem: Problem = asProblem(error)
      if (problem.status !== 401 && problem.status !== 403) throw problem
      this.end()
      return null
    }
  }

  private async refresh(): Promise<SignedIn> {
    const kept = this.access
    this.access = null // The cookie speaks for itself.
    try {
      return await this.client.call('post', '/api/v1/auth/refresh')
    } finally {
      this.access ??= kept
    }
  }

  private take(signedIn: SignedIn): void {
    this.access = { token: signedIn.access_token, until: Date.now() + signedIn.expires_in * 1000 }
    this.user = signedIn.user
    this.organization = signedIn.organization
    this.standing = signedIn.password_change_required ? 'newcomer' : 'in'
  }

  private end(): void {
    this.access = null
    this.user = null
    this.organization = null
    this.standing = 'out'
  }
}

export interface RegisterBody {
  organization: string
  username: string
  email: string
  password: string
  display_name: string
  locale: 'ru' | 'en'
  timezone: string
}

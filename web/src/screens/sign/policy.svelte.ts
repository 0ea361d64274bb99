/** What the sign-in page may offer here; asked once. */
import { client } from '../../workspace.svelte'

class Policy {
  hasRegistration = $state(false)
  /** Nobody has an account here yet. */
  isNew = $state(false)
  shortestPassword = $state(10)
  private isAsked = false

  ask(): void {
    if (this.isAsked) return
    this.isAsked = true
    client
      .call('get', '/api/v1/auth/policy')
      .then((policy) => {
        this.hasRegistration = policy.registration
        this.isNew = policy.is_new
        this.shortestPassword = policy.password_min_length
      })
      .catch(() => (this.isAsked = false))
  }
}

export const policy = new Policy()

/** Notes on the desktop: pushed by the engine where browsers can be, else shown while the page is open. */
import type { Client } from './api/client'

class Desktop {
  /** Browsers have them on https and on localhost only. */
  readonly isPossible = 'Notification' in window && window.isSecureContext
  permission = $state<NotificationPermission>('Notification' in window ? Notification.permission : 'denied')
  private isPushed = false

  /** Ask for permission, and have this browser pushed to; tells whether something has changed. */
  async ask(client: Client): Promise<boolean> {
    this.permission = await Notification.requestPermission()
    if (this.permission === 'granted') await this.subscribe(client)
    return this.isPushed
  }

  private async subscribe(client: Client): Promise<void> {
    const worker = await navigator.serviceWorker?.ready
    if (!worker?.pushManager) return
    const { public_key } = await client.call('get', '/api/v1/notifications/push')
    // Where the browser's maker cannot be reached, notes are shown while the page is open.
    const wanted = worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: public_key })
    const subscription = await wanted.catch(() => null)
    if (subscription === null) return
    const { endpoint, keys } = subscription.toJSON()
    const body = { endpoint: endpoint ?? '', keys: { p256dh: keys?.p256dh ?? '', auth: keys?.auth ?? '' } }
    await client.call('post', '/api/v1/notifications/push', { body })
    this.isPushed = true
  }

  /** A subscription ends with its session: after signing in, a browser that was pushed to is so again. */
  async resume(client: Client): Promise<void> {
    if (!this.isPossible || this.permission !== 'granted' || !navigator.serviceWorker?.controller) return
    try {
      await this.subscribe(client)
    } catch {
      this.isPushed = false // Then notes are shown while the page is open.
    }
  }

  show(id: string, title: string, text: string, link: string): void {
    if (!this.isPossible || this.isPushed || this.permission !== 'granted') return
    if (document.visibilityState === 'visible') return
    try {
      const note = new Notification(title, { body: text, tag: id, icon: './icon.svg' })
      note.onclick = () => {
        window.focus()
        location.hash = link
        note.close()
      }
    } catch {
      this.permission = 'denied' // Android has them for service workers only.
    }
  }
}

export const desktop = new Desktop()

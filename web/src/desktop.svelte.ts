/** Notes on the desktop while the page is not looked at, where the browser and the person allow them. */
class Desktop {
  /** Browsers have them on https and on localhost only. */
  readonly isPossible = 'Notification' in window && window.isSecureContext
  permission = $state<NotificationPermission>('Notification' in window ? Notification.permission : 'denied')

  async ask(): Promise<void> {
    this.permission = await Notification.requestPermission()
  }

  show(id: string, title: string, text: string, link: string): void {
    if (!this.isPossible || this.permission !== 'granted' || document.visibilityState === 'visible') return
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

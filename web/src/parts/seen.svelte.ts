/** Whether somebody looks at the page: it is shown, and its window has the focus. */
export class Seen {
  isSeen = $state(looks())

  /** Keep it up to date; returns how to stop. */
  follow(): () => void {
    const look = (): void => void (this.isSeen = looks())
    document.addEventListener('visibilitychange', look)
    addEventListener('focus', look)
    addEventListener('blur', look)
    look()
    return () => {
      document.removeEventListener('visibilitychange', look)
      removeEventListener('focus', look)
      removeEventListener('blur', look)
    }
  }
}

function looks(): boolean {
  return document.visibilityState === 'visible' && document.hasFocus()
}

/** What a person has chosen for this browser; kept in it. */
export type Theme = 'auto' | 'light' | 'dark'
export type SendKey = 'enter' | 'ctrl-enter'

function kept<T extends string>(name: string, usual: T, known: readonly T[]): T {
  const value = localStorage.getItem(`rugpt-${name}`) as T | null
  return value !== null && known.includes(value) ? value : usual
}

class Preferences {
  theme = $state<Theme>(kept('theme', 'auto', ['auto', 'light', 'dark']))
  sendKey = $state<SendKey>(kept('send-key', 'enter', ['enter', 'ctrl-enter']))

  setTheme(theme: Theme): void {
    this.theme = theme
    localStorage.setItem('rugpt-theme', theme)
    showTheme(theme)
  }

  setSendKey(key: SendKey): void {
    this.sendKey = key
    localStorage.setItem('rugpt-send-key', key)
  }
}

export function showTheme(theme: Theme): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
}

export const preferences = new Preferences()

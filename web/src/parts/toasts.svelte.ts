/** Short notes at the edge of the screen, and what became of actions. */
import { asProblem } from '../api/problem'
import { problemText } from '../words/problems'

export interface Toast {
  id: number
  text: string
  tone: 'plain' | 'bad'
}

class Toasts {
  shown = $state<Toast[]>([])
  private next = 1

  say(text: string, tone: Toast['tone'] = 'plain'): void {
    const id = this.next++
    this.shown = [...this.shown.slice(-3), { id, text, tone }]
    setTimeout(() => this.hide(id), tone === 'bad' ? 9_000 : 4_000)
  }

  hide(id: number): void {
    this.shown = this.shown.filter((toast) => toast.id !== id)
  }

  /** Do something and say so when it was refused; tells whether it was done. */
  async attempt(action: () => Promise<unknown>): Promise<boolean> {
    try {
      await action()
      return true
    } catch (error) {
      this.say(problemText(asProblem(error)), 'bad')
      return false
    }
  }
}

export const toasts = new Toasts()

/** What time it is, for screens that stay open for days. */

const MINUTE_MS = 60_000
const LOOK_MS = 5_000

class Clock {
  private minute = $state(thisMinute())
  private readonly day = $derived(new Date(this.minute * MINUTE_MS).toDateString())

  constructor() {
    setInterval(() => (this.minute = thisMinute()), LOOK_MS)
  }

  /** The time; what has read it is drawn again in the next minute. */
  get now(): Date {
    void this.minute
    return new Date()
  }

  /** The time; what has read it is drawn again when another day has begun. */
  get today(): Date {
    void this.day
    return new Date()
  }
}

function thisMinute(): number {
  return Math.floor(Date.now() / MINUTE_MS)
}

export const clock = new Clock()

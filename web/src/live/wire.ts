/** Reads server-sent events from bytes, however they were cut. */
export interface WireEvent {
  id: number | null
  kind: string
  data: Record<string, unknown>
}

export class EventReader {
  private readonly decoder = new TextDecoder()
  private rest = ''
  private id: number | null = null
  private kind = ''
  private data: string[] = []

  /** Take some bytes and return the events that they complete. */
  read(bytes: Uint8Array): WireEvent[] {
    this.rest += this.decoder.decode(bytes, { stream: true })
    const found: WireEvent[] = []
    let from = 0
    for (;;) {
      const end = this.lineEnd(from)
      if (end === null) break
      const event = this.line(this.rest.slice(from, end.at))
      if (event !== null) found.push(event)
      from = end.next
    }
    this.rest = this.rest.slice(from)
    return found
  }

  private lineEnd(from: number): { at: number; next: number } | null {
    for (let at = from; at < this.rest.length; at++) {
      const mark = this.rest[at]
      if (mark === '\n') return { at, next: at + 1 }
      if (mark !== '\r') continue
      if (at + 1 === this.rest.length) return null // Its \n may be in the next piece.
      return { at, next: this.rest[at + 1] === '\n' ? at + 2 : at + 1 }
    }
    return null
  }

  private line(line: string): WireEvent | null {
    if (line === '') return this.complete()
    const colon = line.indexOf(':')
    if (colon === 0) return null // A heartbeat.
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'data') this.data.push(value)
    else if (field === 'event') this.kind = value
    else if (field === 'id' && /^\d+$/.test(value)) this.id = Number(value)
    return null
  }

  private complete(): WireEvent | null {
    const { id, kind, data } = this
    this.id = null
    this.kind = ''
    this.data = []
    if (data.length === 0) return null
    return { id, kind: kind || 'message', data: JSON.parse(data.join('\n')) as Record<string, unknown> }
  }
}

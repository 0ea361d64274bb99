import fc from 'fast-check'
import { expect, test } from 'vitest'
import { EventReader, type WireEvent } from '$/live/wire'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

test('events are the same however their bytes are cut, inside letters and line ends too', () => {
  const text =
    ': still here\r\n\r\nid: 7\nevent: message.created\ndata: {"text":"Договор «Василёк» 🙂"}\n\n' +
    'event: run.delta\r\ndata: {"text":"a\\nb"}\r\n\r\nid: 8\nevent: read\ndata: {"no":1}\n\n'
  const whole = new EventReader().read(encode(text))
  const bytes = encode(text)

  expect(whole.map((event) => [event.id, event.kind])).toEqual([
    [7, 'message.created'],
    [null, 'run.delta'],
    [8, 'read'],
  ])
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (cuts) => {
      const reader = new EventReader()
      const found: WireEvent[] = []
      const places = [0, ...cuts.sort((one, other) => one - other), bytes.length]
      for (let place = 1; place < places.length; place++) {
        found.push(...reader.read(bytes.slice(places[place - 1], places[place])))
      }
      expect(found).toEqual(whole)
    }),
  )
})

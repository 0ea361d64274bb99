import { expect, test, vi } from 'vitest'
import { Problem } from '$/api/problem'
import { Store } from '$/live/store.svelte'
import { Stream } from '$/live/stream.svelte'
import { Engine, ME, OTHER, sourceOf } from './engine'

type Answer = string | Problem

/** A stream whose connections give these answers, one after another; it ends when there are no more. */
async function followed(answers: Answer[]): Promise<{ headers: Record<string, string>[]; pauses: number[]; stream: Stream; store: Store }> {
  const engine = new Engine()
  engine.openRoom([ME, OTHER])
  const store = new Store(sourceOf(engine, async () => {}, () => true), ME, 0)
  const headers: Record<string, string>[] = []
  const pauses: number[] = []
  const open = async (given: Record<string, string>): Promise<Response> => {
    headers.push(given)
    const answer = answers.shift()
    if (answers.length === 0) stream.stop()
    if (answer instanceof Problem) throw answer
    return new Response(answer)
  }
  const stream: Stream = new Stream(store, open, async (ms) => void pauses.push(ms))
  await stream.follow()
  await store.settled()
  return { headers, pauses, stream, store }
}

const hello = (no: number): string => `event: hello\ndata: {"last_event_id":${no}}\n\n`
const read = (no: number): string => `id: ${no}\nevent: read\ndata: {"chat_id":"x","user_id":"y","up_to_no":1}\n\n`

test('a stream that was cut goes on after the last event that was heard', async () => {
  const { headers, store } = await followed([hello(5) + read(6) + read(7), hello(7) + read(8), ''])

  expect(headers.map((one) => one['Last-Event-ID'])).toEqual([undefined, '7', '8'])
  expect(store.isLoaded).toBe(true)
})

test('it waits as long as the engine asks, and ever longer while nobody answers', async () => {
  const goodbye = 'event: reconnect\ndata: {"retry_ms":1234}\n\n'
  const away = new Problem(0, 'engine_away', '')
  const { pauses } = await followed([hello(1) + goodbye, away, away, away, ''])

  expect(pauses[0]).toBe(1234)
  expect(pauses[3]).toBeGreaterThan(pauses[1]!)
})

test('a place that the engine does not know any more is given up, and all is loaded anew', async () => {
  const { headers } = await followed([hello(5), new Problem(422, 'bad_event_id', ''), hello(1)])

  expect(headers.map((one) => one['Last-Event-ID'])).toEqual([undefined, '5', undefined])
})

test('what cannot be read is a reason to begin anew, not to fall silent', async () => {
  const told = vi.spyOn(console, 'error').mockImplementation(() => {})
  const { headers, stream } = await followed([hello(5) + 'event: read\ndata: {broken\n\n', hello(9), ''])

  expect(headers.map((one) => one['Last-Event-ID'])).toEqual([undefined, undefined, '9'])
  expect(stream.problem).toBeNull()
  expect(told).toHaveBeenCalledOnce()
})

import { expect, test } from 'vitest'
import { place } from '$/screens/calendar/lanes'

const at = (time: string): { at: string } => ({ at: new Date(`2026-12-08T${time}`).toISOString() })

test('what comes at about the same time stands side by side, and the rest has its whole day', () => {
  const placed = place(['09:00', '09:10', '09:35', '12:00'].map(at), 30)

  expect(placed.map(({ minute, lane, lanes }) => [minute, lane, lanes])).toEqual([
    [540, 0, 2],
    [550, 1, 2],
    [575, 0, 2],
    [720, 0, 1],
  ])
})

test('what comes before midnight stays within its day', () => {
  expect(place([at('23:59')], 30)[0]?.minute).toBe(23 * 60 + 30)
})

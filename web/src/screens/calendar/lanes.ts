/** Side by side: what comes at about the same time shares the width of its day. */
export interface Placed<Item> {
  item: Item
  /** Minutes after midnight, by the clock of the one who looks. */
  minute: number
  lane: number
  lanes: number
}

/** Place items that each take up `length` minutes of a day; they come in their order. */
export function place<Item extends { at: string }>(items: Item[], length: number): Placed<Item>[] {
  const placed: Placed<Item>[] = []
  let group: Placed<Item>[] = []
  let ends: number[] = []

  function close(): void {
    for (const one of group) one.lanes = ends.length
    placed.push(...group)
    group = []
    ends = []
  }

  for (const item of items) {
    const at = new Date(item.at)
    const minute = Math.min(at.getHours() * 60 + at.getMinutes(), 24 * 60 - length)
    if (ends.every((end) => end <= minute)) close()
    const free = ends.findIndex((end) => end <= minute)
    const lane = free < 0 ? ends.length : free
    ends[lane] = minute + length
    group.push({ item, minute, lane, lanes: 1 })
  }
  close()
  return placed
}

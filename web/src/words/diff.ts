/** What an edit changes, word by word. */
export interface Piece {
  kind: 'same' | 'added' | 'removed'
  text: string
}

const MOST_CELLS = 4_000_000

export function difference(before: string, after: string): Piece[] {
  const [one, other] = [wordsOf(before), wordsOf(after)]
  let head = 0
  while (head < one.length && head < other.length && one[head] === other[head]) head++
  let tail = 0
  const most = Math.min(one.length, other.length) - head
  while (tail < most && one.at(-1 - tail) === other.at(-1 - tail)) tail++
  const [a, b] = [one.slice(head, one.length - tail), other.slice(head, other.length - tail)]
  const middle = a.length * b.length > MOST_CELLS ? wholly(a, b) : compared(a, b)
  const pieces = [...same(one.slice(0, head)), ...middle, ...same(one.slice(one.length - tail))]
  return joined(pieces)
}

function wordsOf(text: string): string[] {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? []
}

function same(words: string[]): Piece[] {
  return words.map((text) => ({ kind: 'same', text }))
}

function wholly(a: string[], b: string[]): Piece[] {
  return [
    { kind: 'removed', text: a.join('') },
    { kind: 'added', text: b.join('') },
  ]
}

/** The longest common run of words, by the usual table. */
function compared(a: string[], b: string[]): Piece[] {
  const width = b.length + 1
  const table = new Uint32Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const [below, right] = [table[(i + 1) * width + j]!, table[i * width + j + 1]!]
      table[i * width + j] = a[i] === b[j] ? table[(i + 1) * width + j + 1]! + 1 : Math.max(below, right)
    }
  }
  const pieces: Piece[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      pieces.push({ kind: 'same', text: a[i]! })
      i++
      j++
    } else if (j === b.length || (i < a.length && table[(i + 1) * width + j]! >= table[i * width + j + 1]!)) {
      pieces.push({ kind: 'removed', text: a[i++]! })
    } else {
      pieces.push({ kind: 'added', text: b[j++]! })
    }
  }
  return pieces
}

function joined(pieces: Piece[]): Piece[] {
  const all: Piece[] = []
  for (const piece of pieces) {
    const last = all.at(-1)
    if (last?.kind === piece.kind) last.text += piece.text
    else if (piece.text !== '') all.push({ ...piece })
  }
  return all
}

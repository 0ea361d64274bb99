/** Who is called in a text: `@username` is a colleague, `@@role` a role; the engine's own rules, for a preview. */
export interface Names {
  /** Every folded code and name of a role, with its code. */
  roles: ReadonlyMap<string, string>
  /** Every folded username. */
  users: ReadonlySet<string>
}

export interface Mention {
  kind: 'user' | 'role'
  /** The role's code, or the username; null when it names nobody. */
  code: string | null
  text: string
  from: number
  to: number
}

// Code and addresses are not speech: what looks like a mention in them calls nobody.
const NOT_SPEECH =
  /```[\s\S]*?(?:```|$(?![\s\S]))|``(?!`)[^\n]*?``|`[^`\n]*`|(?:\b[a-z][a-z0-9+.-]{0,30}:\/\/|\bwww\.)\S+/gi
const W = '[\\p{L}\\p{N}_]'
// The name is taken whole or not at all (a lookahead that is captured does not give back).
const MENTION = new RegExp(`(?<![\\p{L}\\p{N}_@\\\\/.+-])(@@?)(?=(${W}(?:[\\p{L}\\p{N}_.-]*${W})?))\\2(?!@)`, 'gu')

export function fold(name: string): string {
  return name.trim().replace(/[\s_-]+/g, ' ').toLowerCase().replaceAll('ё', 'е')
}

export function mentionsIn(text: string, names: Names): Mention[] {
  const speech = text.replace(NOT_SPEECH, (found) => ' '.repeat(found.length))
  const found: Mention[] = []
  for (const match of speech.matchAll(MENTION)) {
    const [whole, sign = '', name = ''] = match
    const readings = readingsOf(name)
    const from = match.index
    if (sign === '@') {
      const code = readings.find((reading) => names.users.has(reading.toLowerCase())) ?? null
      const length = code === null ? whole.length : 1 + code.length
      found.push({ kind: 'user', code: code?.toLowerCase() ?? null, text: name, from, to: from + length })
    } else {
      const { code, length } = roleAt(speech, from + 2, readings, names.roles)
      found.push({ kind: 'role', code, text: name, from, to: from + 2 + (length || name.length) })
    }
  }
  return found
}

/** What sending a text would start: roles in their order, and names that call none. */
export function rolesCalled(text: string, names: Names): { roles: string[]; unknown: string[] } {
  const all = mentionsIn(text, names).filter((one) => one.kind === 'role')
  const roles = new Set(all.flatMap((one) => (one.code === null ? [] : [one.code])))
  const unknown = new Set(all.flatMap((one) => (one.code === null ? [one.text] : [])))
  return { roles: [...roles], unknown: [...unknown] }
}

/** In "@anna.Привет" the dot may belong to the name or end it: longest first. */
function readingsOf(name: string): string[] {
  const ends = [...name.matchAll(/[.\-_]+/g)].map((cut) => cut.index).filter((at) => at > 0)
  return [name.length, ...ends.reverse()].slice(0, 4).map((end) => name.slice(0, end))
}

function roleAt(
  text: string,
  start: number,
  readings: string[],
  roles: ReadonlyMap<string, string>,
): { code: string | null; length: number } {
  const ahead = text.slice(start, start + 64)
  const long = [...roles.keys()].filter((name) => name.includes(' ')).sort((one, other) => other.length - one.length)
  for (const name of long) {
    if (fold(ahead.slice(0, name.length)) !== name) continue
    if (/^[\p{L}\p{N}]/u.test(ahead.slice(name.length))) continue
    return { code: roles.get(name)!, length: name.length }
  }
  for (const reading of readings) {
    const code = roles.get(fold(reading))
    if (code !== undefined) return { code, length: reading.length }
  }
  return { code: null, length: 0 }
}

export interface Typing {
  sign: '@' | '@@'
  query: string
  from: number
}

/** The mention that is being typed at the caret, if one is. */
export function typingAt(text: string, caret: number): Typing | null {
  const found = /(?<![\p{L}\p{N}_@\\/.+-])(@@?)([\p{L}\p{N}_.-]*)$/u.exec(text.slice(0, caret))
  if (found === null) return null
  return { sign: found[1] as '@' | '@@', query: found[2] ?? '', from: found.index }
}

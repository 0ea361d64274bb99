/** A refusal of the engine (RFC 9457), or the engine's absence, as an error with a stable code. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly more: Record<string, unknown> = {},
    readonly retryAfter: number | null = null,
  ) {
    super(`${code}: ${detail}`)
    this.name = 'Problem'
  }

  /** Whether nobody answered: no network, a proxy without an engine, or an engine without its database. */
  get isAway(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504
  }
}

export const AWAY = 'engine_away'

export async function problemOf(response: Response): Promise<Problem> {
  const retryAfter = Number(response.headers.get('Retry-After')) || null
  try {
    const body = (await response.json()) as Record<string, unknown>
    if (typeof body.code === 'string') {
      return new Problem(response.status, body.code, String(body.detail ?? ''), body, retryAfter)
    }
  } catch {
    // Whatever stands between us and the engine has said no in its own words.
  }
  const code = response.status >= 502 ? AWAY : 'unknown_problem'
  return new Problem(response.status, code, response.statusText, {}, retryAfter)
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  // fetch fails with a TypeError, an abort with a DOMException.
  if (error instanceof TypeError || error instanceof DOMException) return new Problem(0, AWAY, error.message)
  throw error
}

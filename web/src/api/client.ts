/** Calls the engine: typed by its OpenAPI document, under a base that the page names. */
import type { paths } from './schema'
import { asProblem, problemOf, type Problem } from './problem'

export type Method = 'get' | 'post' | 'patch' | 'put' | 'delete'
type Operation<P extends keyof paths, M extends Method> = Exclude<paths[P][M], undefined>
export type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, infer O> ? ([O] extends [undefined] ? never : P) : never
}[keyof paths]

type Parameter<O, Kind extends string> = O extends { parameters: infer All }
  ? Kind extends keyof All
    ? Exclude<All[Kind], undefined>
    : undefined
  : undefined
type Json<B> = { content: { 'application/json': B } }
type WithBody<O> = O extends { requestBody: Json<infer B> }
  ? { body: B }
  : O extends { requestBody?: infer R }
    ? [R] extends [undefined]
      ? unknown
      : NonNullable<R> extends Json<infer B>
        ? { body?: B }
        : unknown
    : unknown
type Ok<R> = {
  [S in keyof R]: S extends 200 | 201 | 202
    ? R[S] extends Json<infer A>
      ? A
      : never
    : never
}[keyof R]
export type Answer<O> = O extends { responses: infer R } ? ([Ok<R>] extends [never] ? void : Ok<R>) : never

type Defined<T> = { [K in keyof T as T[K] extends undefined ? never : K]: T[K] }
type Given<O> = Defined<{ path: Parameter<O, 'path'> }> & WithBody<O> & {
  query?: Parameter<O, 'query'>
  signal?: AbortSignal
}

interface Loose {
  path?: Record<string, string>
  body?: unknown
  query?: Record<string, string | number | boolean | null | undefined>
  signal?: AbortSignal
}

const PREFIX = '/api/v1'
const LIMIT_MS = 30_000

/** What a session lends to calls: a token that is still good, and a new one when it was refused. */
export interface Credentials {
  token(): Promise<string | null>
  renew(refused: string): Promise<string | null>
}

export class Client {
  credentials: Credentials | null = null

  constructor(
    readonly base: string,
    private readonly language: () => string = () => 'ru',
  ) {}

  /** Make one call; throws a Problem when it is refused or nobody answers. */
  async call<M extends Method, P extends PathsWith<M>>(
    method: M,
    path: P,
    ...[given]: {} extends Given<Operation<P, M>> ? [Given<Operation<P, M>>?] : [Given<Operation<P, M>>]
  ): Promise<Answer<Operation<P, M>>> {
    const response = await this.send(method, String(path), (given ?? {}) as Loose)
    if (response.status === 204) return undefined as Answer<Operation<P, M>>
    return (await response.json()) as Answer<Operation<P, M>>
  }

  /** Open a stream; its response is returned as soon as the engine has agreed. */
  async open(path: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    return this.send('get', path, { signal }, { Accept: 'text/event-stream', ...headers })
  }

  private async send(
    method: Method,
    path: string,
    given: Loose,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const token = (await this.credentials?.token()) ?? null
    const first = await this.attempt(method, path, given, headers, token)
    if (first.ok) return first
    const problem = await problemOf(first)
    if (first.status === 401 && token !== null && this.credentials !== null) {
      const renewed = await this.credentials.renew(token)
      if (renewed !== null) {
        const second = await this.attempt(method, path, given, headers, renewed)
        if (second.ok) return second
        throw await problemOf(second)
      }
    }
    throw problem
  }

  private async attempt(
    method: Method,
    path: string,
    given: Loose,
    headers: Record<string, string>,
    token: string | null,
  ): Promise<Response> {
    const all: Record<string, string> = {
      'X-RuGPT-Client': 'web',
      'Accept-Language': this.language(),
      ...headers,
    }
    if (token !== null) all.Authorization = `Bearer ${token}`
    if (given.body !== undefined) all['Content-Type'] = 'application/json'
    try {
      return await fetch(this.address(path, given), {
        method: method.toUpperCase(),
        headers: all,
        body: given.body === undefined ? null : JSON.stringify(given.body),
        // The refresh token is a cookie; the API knows callers by the header alone.
        credentials: path.startsWith(`${PREFIX}/auth/`) ? 'same-origin' : 'omit',
        cache: 'no-store',
        signal: given.signal ?? AbortSignal.timeout(LIMIT_MS),
      })
    } catch (error) {
      throw asProblem(error)
    }
  }

  private address(path: string, given: Loose): string {
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(given.path?.[name] ?? ''))
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(given.query ?? {})) {
      if (value !== undefined && value !== null) query.set(name, String(value))
    }
    const search = query.size > 0 ? `?${query}` : ''
    return this.base + filled.slice(PREFIX.length) + search
  }
}

/** Read where the API is from the page; the server may have written another place into it. */
export function baseOf(page: Document): string {
  const named = page.querySelector('meta[name="rugpt-base"]')?.getAttribute('content') ?? ''
  return (named || PREFIX).replace(/\/+$/, '')
}

export type { Problem }

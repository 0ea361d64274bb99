/** Where one is: the part of the address after #, so that the server serves one page wherever it is mounted. */
export interface Place {
  screen: string
  id: string | null
  query: URLSearchParams
}

export function placeOf(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  const [screen = '', id = ''] = path.split('/')
  return { screen: screen || 'chats', id: id === '' ? null : decodeURIComponent(id), query: new URLSearchParams(query) }
}

class Router {
  place = $state.raw<Place>(placeOf(location.hash))

  constructor() {
    addEventListener('hashchange', () => (this.place = placeOf(location.hash)))
  }

  go(screen: string, id: string | null = null, query: Record<string, string> = {}): void {
    location.hash = this.link(screen, id, query)
  }

  /** Change where one is without a new step in the history. */
  replace(screen: string, id: string | null = null): void {
    history.replaceState(null, '', this.link(screen, id))
    this.place = placeOf(location.hash)
  }

  link(screen: string, id: string | null = null, query: Record<string, string> = {}): string {
    const search = new URLSearchParams(query).toString()
    return `#/${screen}${id === null ? '' : `/${encodeURIComponent(id)}`}${search === '' ? '' : `?${search}`}`
  }
}

export const router = new Router()

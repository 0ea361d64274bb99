// Keeps the shell (page, scripts, styles) so that the client opens without the engine. Never data: nothing
// under /api is touched, and what is kept is the same for everybody.
const SHELL = 'rugpt-shell-1'
const root = new URL('./', self.location.href)

self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', (event) => {
  event.waitUntil(
    caches.keys().then(async (names) => {
      await Promise.all(names.filter((name) => name !== SHELL).map((name) => caches.delete(name)))
      await self.clients.claim()
    }),
  )
})

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url)
  if (event.request.method !== 'GET' || url.origin !== root.origin || url.pathname.includes('/api/')) return
  if (event.request.mode === 'navigate') event.respondWith(page())
  else if (url.pathname.startsWith(`${root.pathname}assets/`)) event.respondWith(asset(event.request))
})

async function page() {
  const cache = await caches.open(SHELL)
  try {
    const fresh = await fetch(root, { cache: 'no-cache' })
    if (fresh.ok) await renew(cache, fresh.clone())
    return fresh
  } catch {
    return (await cache.match(root)) ?? Response.error()
  }
}

// A new page names new assets: those of the page before it are let go.
async function renew(cache, fresh) {
  const [before, text] = [await cache.match(root), await fresh.clone().text()]
  if (before && (await before.text()) !== text) {
    for (const request of await cache.keys()) await cache.delete(request)
  }
  await cache.put(root, fresh)
}

async function asset(request) {
  const cache = await caches.open(SHELL)
  const known = await cache.match(request)
  if (known) return known
  const fresh = await fetch(request)
  if (fresh.ok) await cache.put(request, fresh.clone())
  return fresh
}

// What is pushed was encrypted for this browser by the engine; its maker has carried it and read nothing.
self.addEventListener('push', (event) => {
  const { title, body, tag, chat_id, message_id } = event.data?.json() ?? {}
  if (typeof title !== 'string') return
  const hash = chat_id ? `#/chats/${chat_id}${message_id ? `?m=${message_id}` : ''}` : '#/notifications'
  const shown = { body, tag, icon: './icon.svg', data: { hash } }
  event.waitUntil(self.registration.showNotification(title, shown))
})

self.addEventListener('notificationclick', (event) => {
  event.notification.close()
  event.waitUntil(open(new URL(event.notification.data?.hash ?? '', root).href))
})

async function open(address) {
  const [page] = await self.clients.matchAll({ type: 'window', includeUncontrolled: true })
  if (page === undefined) return self.clients.openWindow(address)
  const shown = await page.navigate(address)
  return (shown ?? page).focus()
}

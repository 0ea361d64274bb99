/** What waits, in the tab's title and on its icon. */
const TITLE = 'RuGPT'
let drawn = 0

export function showCount(toSign: number, unread: number): void {
  const count = toSign + unread
  document.title = count > 0 ? `(${count}) ${TITLE}` : TITLE
  if (count === drawn) return
  drawn = count
  const link = document.querySelector<HTMLLinkElement>('link[rel="icon"]')
  if (link === null) return
  if (count === 0) {
    link.href = './icon.svg'
    link.type = 'image/svg+xml'
    return
  }
  const image = new Image(64, 64)
  image.onload = () => draw(image, link, count, toSign > 0)
  image.src = './icon.svg'
}

function draw(image: HTMLImageElement, link: HTMLLinkElement, count: number, isDraft: boolean): void {
  const canvas = document.createElement('canvas')
  canvas.width = canvas.height = 64
  const context = canvas.getContext('2d')
  if (context === null || count !== drawn) return
  context.drawImage(image, 0, 0, 64, 64)
  context.fillStyle = isDraft ? '#b06d00' : '#c6282e'
  context.beginPath()
  context.arc(44, 44, 20, 0, Math.PI * 2)
  context.fill()
  context.fillStyle = '#fff'
  context.font = '700 26px system-ui, sans-serif'
  context.textAlign = 'center'
  context.textBaseline = 'middle'
  context.fillText(count > 9 ? '9+' : String(count), 44, 46)
  link.type = 'image/png'
  link.href = canvas.toDataURL('image/png')
}

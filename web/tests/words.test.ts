import { expect, test } from 'vitest'
import { Markdown, type Wording } from '$/words/markdown'
import { mentionsIn, rolesCalled, typingAt } from '$/words/mentions'
import { difference } from '$/words/diff'

const names = {
  roles: new Map([
    ['lawyer', 'lawyer'],
    ['юрист', 'lawyer'],
    ['hr', 'hr'],
    ['главный бухгалтер', 'accountant'],
  ]),
  users: new Set(['anna', 'ivan.p']),
}
const wording: Wording = { names, me: 'anna', image: (what) => `image ${what}`, foreign: String, copy: 'Copy' }
const html = (text: string): string => new Markdown(wording, false).whole(text)

test('a preview names the roles that the engine would call, by code or by name, each once', () => {
  expect(rolesCalled('@@lawyer и @@Юрист, @@hr.', names).roles).toEqual(['lawyer', 'hr'])
  expect(rolesCalled('@@Главный бухгалтер, посчитай', names).roles).toEqual(['accountant'])
  expect(rolesCalled('@@nobody', names)).toEqual({ roles: [], unknown: ['nobody'] })
})

test('code, addresses and e-mail call nobody', () => {
  expect(mentionsIn('`@@lawyer` https://x.example/@@hr ```\n@@hr\n``` a@anna b@@hr', names)).toEqual([])
})

test('a dot ends a name that has none, and belongs to one that does', () => {
  expect(mentionsIn('@anna.Привет', names)[0]).toMatchObject({ code: 'anna', to: 5 })
  expect(mentionsIn('@ivan.p', names)[0]).toMatchObject({ code: 'ivan.p', to: 7 })
})

test('what is being typed is a mention only where one could stand', () => {
  expect(typingAt('спроси @@юр', 11)).toEqual({ sign: '@@', query: 'юр', from: 7 })
  expect(typingAt('mail@ann', 8)).toBeNull()
})

const ATTACKS = [
  '<img src=x onerror=alert(1)>',
  '<script>alert(1)</script>',
  '[x](javascript:alert(1))',
  '[x](data:text/html;base64,PHNjcmlwdD4=)',
  '![x](https://evil.example/pixel.png)',
  '![x](javascript:alert(1))',
  '<a href="javascript:alert(1)">x</a>',
  '<svg onload=alert(1)>',
  '<style>*{display:none}</style>',
  '<iframe src="https://evil.example"></iframe>',
  '[x](https://a.example "\\" onmouseover=alert(1)")',
  '```"><img src=x onerror=alert(1)>\ncode\n```',
  '| a |\n|---|\n| <img src=x onerror=alert(1)> |',
  '@<img src=x onerror=alert(1)>',
]

test.each(ATTACKS)('%s does nothing and loads nothing', (attack) => {
  const page = document.createElement('div')
  page.innerHTML = html(attack)

  expect(page.querySelector('img, script, style, svg, iframe, object, embed, form, input, link, meta')).toBeNull()
  for (const element of page.querySelectorAll('*')) {
    for (const { name, value } of element.attributes) {
      expect(name).not.toMatch(/^on|style|src/)
      if (name === 'href') expect(value).toMatch(/^https?:/)
    }
  }
})

test('a link opens apart, and tells the other place nothing', () => {
  const page = Object.assign(document.createElement('div'), { innerHTML: html('[x](https://a.example/?q=1)') })

  expect(page.querySelector('a')).toMatchObject({ target: '_blank', rel: 'noopener noreferrer nofollow', href: 'https://a.example/?q=1' })
})

test.each(['Просто текст, с «кавычками» — и числом 12.', 'a "b" \'c\''])('%s is the same on the short way', (text) => {
  const page = (inner: string): string => Object.assign(document.createElement('div'), { innerHTML: inner.trim() }).innerHTML
  const long = page(html(`${text}\n`)) // The short way is for a single line.
  expect(page(html(text))).toBe(long)
  expect(page(new Markdown(wording, false).blocks(text).join(''))).toBe(long)
})

test('an answer that grows ends as the same answer given whole', () => {
  const text = '# Итог\n\nСрок **10 дней**.\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n```js\nlet x = 1\n```\n\n- раз\n- два\n'
  const growing = new Markdown(wording, false)
  let last: string[] = []
  for (let length = 1; length <= text.length; length++) last = growing.blocks(text.slice(0, length))

  const bare = (page: string): string => page.replace(/\s*\n\s*/g, '')
  expect(bare(last.join(''))).toBe(bare(html(text)))
  expect(last.join('')).toContain('align="right"')
})

test('a difference holds both texts', () => {
  const [before, after] = ['Срок — 10 дней с даты.', 'Срок — 14 рабочих дней с даты поставки.']
  const pieces = difference(before, after)
  const side = (kind: string): string => pieces.filter((one) => one.kind !== kind).map((one) => one.text).join('')

  expect(side('added')).toBe(before)
  expect(side('removed')).toBe(after)
  expect(pieces.filter((one) => one.kind === 'same').map((one) => one.text).join('')).toContain('Срок — ')
})

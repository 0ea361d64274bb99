import { expect, test } from 'vitest'
import { en } from '$/i18n/en'
import { speak, t } from '$/i18n/index.svelte'
import type { Phrase } from '$/i18n/phrase'
import { ru } from '$/i18n/ru'

const blanks = (phrase: Phrase): Set<string> => new Set(JSON.stringify(phrase).match(/\{\w+\}/g) ?? [])

test('both languages fill the same blanks', () => {
  for (const key of Object.keys(ru) as (keyof typeof ru)[]) expect([key, blanks(en[key])]).toEqual([key, blanks(ru[key])])
})

test('numbers take the form that their language wants', async () => {
  await speak('ru')
  expect([1, 3, 11, 1200].map((n) => t('chats.people', { n }))).toEqual([
    '1 человек',
    '3 человека',
    '11 человек',
    '1 200 человек'.replace(' ', '\u00a0'),
  ])
  await speak('en')
  expect([1, 5].map((n) => t('chats.people', { n }))).toEqual(['1 person', '5 people'])
})

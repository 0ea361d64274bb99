/** What is said under a key: a sentence, or its forms by number. */
export type Phrase = string | Partial<Record<Intl.LDMLPluralRule, string>>

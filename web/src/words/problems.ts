/** What a refusal means, and what to do about it, in the reader's language. */
import { AWAY, type Problem } from '../api/problem'
import { isKey, language, t } from '../i18n/index.svelte'

export function problemText(problem: Problem): string {
  const key = `error.${problem.code}`
  if (problem.code === 'too_many_attempts' || (problem.status === 429 && problem.retryAfter !== null)) {
    return t('error.too_many_attempts', { n: problem.retryAfter ?? 60 })
  }
  if (isKey(key)) return t(key)
  if (problem.isAway) return t(`error.${AWAY}`)
  if (problem.status >= 500) return t('error.bug', { id: String(problem.more.request_id ?? '') })
  // The engine's own sentence is better than none.
  return language() === 'en' && problem.detail !== '' ? problem.detail : t('error.refused', { code: problem.code, detail: problem.detail })
}

/** Giving a verdict on a draft. */
import type { Message } from '../../api/types'
import { Problem } from '../../api/problem'
import { t } from '../../i18n/index.svelte'
import { toasts } from '../../parts/toasts.svelte'
import { client, work } from '../../workspace.svelte'

export type Verdict = 'approve' | 'edit' | 'reject'

/** Sign, edit or reject; tells whether it was done. Somebody who was quicker has had the last word. */
export async function sign(
  message: Message,
  verdict: Verdict,
  said: { content?: string; comment?: string } = {},
): Promise<boolean> {
  const { store } = work()
  return toasts.attempt(async () => {
    store.inbox.take(message.id)
    try {
      const signed = await client.call('post', '/api/v1/messages/{message_id}/validation', {
        path: { message_id: message.id },
        body: { verdict, ...(said.content ? { content: said.content } : {}), ...(said.comment ? { comment: said.comment } : {}) },
      })
      store.inbox.leave(message.id)
      store.know(signed)
      toasts.say(t(`draft.done.${verdict}`))
    } catch (error) {
      store.inbox.giveBack(message.id)
      if (error instanceof Problem && error.status === 409) store.inbox.leave(message.id)
      throw error
    }
  })
}

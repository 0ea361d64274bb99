-- name: open_drafts
-- One draft for each answer that needs a signature.
INSERT INTO drafts (message_id, chat_id, run_id, role_code, asker_id, approvers, expires_at)
SELECT a.message_id, a.chat_id, a.run_id, a.role_code, a.asker_id,
       ARRAY(SELECT jsonb_array_elements_text(a.approvers)), now() + a.hours * interval '1 hour'
  FROM ROWS FROM (unnest(:message_ids::uuid[]), unnest(:chat_ids::uuid[]), unnest(:run_ids::uuid[]),
                  unnest(:role_codes::text[]), unnest(:asker_ids::uuid[]), jsonb_array_elements(:approvers::jsonb),
                  unnest(:hours::int[]))
       AS a (message_id, chat_id, run_id, role_code, asker_id, approvers, hours)
RETURNING message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
          comment, original, edited, expires_at;

-- name: overdue
-- Some drafts of every organization that nobody signed in time.
SELECT org_id, message_id FROM drafts
 WHERE status = 'draft' AND expires_at <= now() ORDER BY expires_at LIMIT :count::int;

-- name: expire
-- Drafts that nobody signed in time are drafts no longer; who signs at the same moment wins or loses, not both.
UPDATE drafts SET status = 'expired', decided_at = now()
 WHERE message_id = ANY(:message_ids::uuid[]) AND status = 'draft' AND expires_at <= now()
RETURNING message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
          comment, original, edited, expires_at;

-- name: decide
-- One verdict wins, whatever their number: only a draft can be decided on.
UPDATE drafts
   SET status = :status, decided_at = now(), decided_by = :decided_by, comment = :comment::text,
       original = :original::text, edited = :edited::text
 WHERE message_id = :message_id AND status = 'draft'
RETURNING message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
          comment, original, edited, expires_at;

-- name: drafts_by_messages
-- The drafts under some messages.
SELECT message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
       comment, original, edited, expires_at
  FROM drafts WHERE message_id = ANY(:message_ids::uuid[]);

-- name: draft_in_chat
-- The draft under a message, unless its chat was deleted.
SELECT message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
       comment, original, edited, expires_at
  FROM drafts WHERE message_id = :message_id AND chat_exists(chat_id);

-- name: count_for_signer
-- How many drafts wait for a person, counted up to a bound; who may sign is told at the next statement.
SELECT count(*)::int AS found
  FROM (SELECT FROM drafts
         WHERE status = 'draft'
           AND (('asker' = ANY(approvers) AND asker_id = :user_id AND chat_id = ANY(:chat_ids::uuid[]))
                OR ('admins' = ANY(approvers) AND :is_admin::boolean)
                OR ('members' = ANY(approvers) AND chat_id = ANY(:chat_ids::uuid[]))
                OR (lower(:username::text) NOT IN ('asker', 'admins', 'members')
                    AND EXISTS (SELECT FROM unnest(approvers) AS approver WHERE lower(approver) = lower(:username::text))))
           AND chat_exists(chat_id)
         LIMIT :most::int) AS waiting;

-- name: drafts_for_signer
-- The drafts that a person may sign, newest first: as who asked and is still in the chat, as a member, as
-- an administrator or by name in all chats of the organization that are still there.
-- Somebody may be called as one of a policy's words, and is not named by that.
SELECT message_id, chat_id, run_id, role_code, asker_id, approvers, status, opened_at, decided_at, decided_by,
       comment, original, edited, expires_at
  FROM drafts
 WHERE (:status::text IS NULL OR status = :status::text)
   AND (('asker' = ANY(approvers) AND asker_id = :user_id AND chat_id = ANY(:chat_ids::uuid[]))
        OR ('admins' = ANY(approvers) AND :is_admin::boolean)
        OR ('members' = ANY(approvers) AND chat_id = ANY(:chat_ids::uuid[]))
        OR (lower(:username::text) NOT IN ('asker', 'admins', 'members')
            AND EXISTS (SELECT FROM unnest(approvers) AS approver WHERE lower(approver) = lower(:username::text))))
   AND chat_exists(chat_id)
   AND (:before_at::timestamptz IS NULL
        OR (opened_at, message_id) < (:before_at::timestamptz, :before_id::uuid))
 ORDER BY opened_at DESC, message_id DESC
 LIMIT :count::int;

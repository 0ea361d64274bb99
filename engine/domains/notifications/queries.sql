-- name: ensure_channels
-- Everybody has notifications in the client, and e-mail to the account's own address; what somebody removed
-- is not made again.
INSERT INTO notification_channels (user_id, kind, is_own, priority, patience_seconds, timezone, carries, verified_at)
SELECT person.user_id, way.kind, way.is_own, way.priority, :patience_seconds::int, person.timezone, :carries::text[], now()
  FROM unnest(:user_ids::uuid[], :timezones::text[]) AS person (user_id, timezone),
       (VALUES ('in_app', false, 100), ('email', true, 50)) AS way (kind, is_own, priority)
ON CONFLICT DO NOTHING;

-- name: channels_of
-- The channels of some people, the first to be told first; a browser's ends with its session.
SELECT id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
       verified_at, broken_at, broken_code, code_expires_at, created_at
  FROM notification_channels
 WHERE user_id = ANY(:user_ids::uuid[]) AND deleted_at IS NULL AND (kind <> 'web_push' OR session_is_live(session_id))
 ORDER BY priority DESC, created_at, id;

-- name: lock_channel
-- A channel of this person; changes of it take turns.
SELECT id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
       verified_at, broken_at, broken_code, code_expires_at, created_at
  FROM notification_channels
 WHERE id = :channel_id AND user_id = :user_id AND deleted_at IS NULL
   AND (kind <> 'web_push' OR session_is_live(session_id))
   FOR UPDATE;

-- name: channel_with_key
-- A channel as a courier needs it; no row for one that was removed.
SELECT id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
       verified_at, broken_at, broken_code, code_expires_at, created_at, sealed_key
  FROM notification_channels
 WHERE id = :channel_id AND deleted_at IS NULL AND (kind <> 'web_push' OR session_is_live(session_id));

-- name: insert_channel
-- A new channel; the indexes refuse a second one to the same address.
INSERT INTO notification_channels (id, user_id, kind, address, sealed_key, priority, patience_seconds, timezone, carries,
                                   verified_at, session_id)
VALUES (:channel_id, :user_id, :kind, :address::text, :sealed_key::bytea, :priority, :patience_seconds, :timezone,
        :carries::text[], CASE WHEN :is_verified::boolean THEN now() END, :session_id::uuid)
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: browser_at
-- A person's channel to a browser, also one whose session is over.
SELECT id FROM notification_channels
 WHERE user_id = :user_id AND kind = 'web_push' AND lower(address) = lower(:address) FOR UPDATE;

-- name: renew_browser
-- The browser has signed in anew, or has new keys; what its owner has set of the channel stays.
UPDATE notification_channels
   SET session_id = :session_id, sealed_key = :sealed_key, broken_at = NULL, broken_code = NULL
 WHERE id = :channel_id
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: revive_own
-- Brings the account's own e-mail channel back after it was removed.
UPDATE notification_channels SET deleted_at = NULL, broken_at = NULL, broken_code = NULL
 WHERE user_id = :user_id AND is_own AND deleted_at IS NOT NULL
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: update_channel
-- Only what is given changes.
UPDATE notification_channels
   SET priority = coalesce(:priority::int, priority),
       patience_seconds = coalesce(:patience_seconds::int, patience_seconds),
       quiet_from = coalesce(:quiet_from::time, quiet_from),
       quiet_until = coalesce(:quiet_until::time, quiet_until),
       timezone = coalesce(:timezone::text, timezone),
       carries = coalesce(:carries::text[], carries)
 WHERE id = :channel_id
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: remove_channel
-- The address and every secret are gone; the log still knows that there was a channel.
UPDATE notification_channels
   SET deleted_at = now(), address = NULL, sealed_key = NULL, code_hash = NULL, code_expires_at = NULL
 WHERE id = :channel_id;

-- name: drop_queued
-- What waits for a channel that is no more is not sent.
UPDATE deliveries SET status = 'dropped', finished_at = now(), sealed = NULL, failure = :failure
 WHERE channel_id = :channel_id AND status = 'queued';

-- name: set_code
-- A new code takes the place of the one before.
UPDATE notification_channels
   SET code_hash = :code_hash::bytea, code_expires_at = now() + :seconds::int * interval '1 second', code_tries = 0
 WHERE id = :channel_id
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: try_code
-- A right code works once and only in time; after so many wrong ones none does.
UPDATE notification_channels
   SET code_tries = code_tries + 1,
       verified_at = CASE WHEN code_hash = :code_hash::bytea THEN now() ELSE verified_at END,
       code_hash = CASE WHEN code_hash = :code_hash::bytea THEN NULL ELSE code_hash END
 WHERE id = :channel_id AND code_hash IS NOT NULL AND code_expires_at > now() AND code_tries < :most_tries::int
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: organization_of_code
-- Across organizations: where a code that somebody said to the bot was given.
SELECT org_id FROM notification_channels WHERE kind = 'telegram' AND code_hash = :code_hash::bytea;

-- name: bind_chat
-- The code is used up by it, and works only in time.
UPDATE notification_channels
   SET address = :address::text, verified_at = now(), broken_at = NULL, broken_code = NULL, code_hash = NULL
 WHERE kind = 'telegram' AND code_hash = :code_hash::bytea AND code_expires_at > now() AND deleted_at IS NULL
   AND address IS NULL
RETURNING id, user_id, kind, is_own, address, priority, patience_seconds, quiet_from, quiet_until, timezone, carries,
          verified_at, broken_at, broken_code, code_expires_at, created_at;

-- name: bound_chat
-- Across organizations: whose a Telegram chat is.
SELECT org_id, id AS channel_id, user_id FROM notification_channels WHERE kind = 'telegram' AND address = :address::text;

-- name: break_channel
-- Nothing more goes there until its owner mends it.
UPDATE notification_channels SET broken_at = now(), broken_code = left(:reason::text, 200)
 WHERE id = :channel_id AND broken_at IS NULL;

-- name: mend_channel
-- It works again.
UPDATE notification_channels SET broken_at = NULL, broken_code = NULL WHERE id = :channel_id AND broken_at IS NOT NULL;

-- name: hold_channel
-- Its provider wants quiet for a while; nothing goes there before.
UPDATE notification_channels SET free_at = greatest(free_at, now() + :seconds::float8 * interval '1 second')
 WHERE id = :channel_id;

-- name: hold_queued
-- What waits for a channel waits until it is free.
UPDATE deliveries SET due_at = greatest(due_at, free_at)
  FROM notification_channels c
 WHERE c.id = :channel_id AND deliveries.channel_id = c.id AND status = 'queued';

-- name: mute_channel
-- It carries nothing any more; its owner can choose again what it carries.
UPDATE notification_channels SET carries = '{}' WHERE id = :channel_id AND deleted_at IS NULL
RETURNING id;

-- name: insert_notifications
-- One for each person and thing; nobody is told twice of the same.
INSERT INTO notifications (user_id, kind, key, chat_id, message_id, message_no, subject_id, facts)
SELECT * FROM unnest(:user_ids::uuid[], :kind::text[], :key::text[], :chat_id::uuid[], :message_id::uuid[],
                     :message_no::bigint[], :subject_id::uuid[], :facts::jsonb[])
ON CONFLICT (org_id, user_id, key) DO NOTHING
RETURNING id, user_id, kind, chat_id, message_id;

-- name: page_of_notifications
-- One person's, the newest first, from a cursor on.
SELECT id, user_id, kind, chat_id, message_id, message_no, subject_id, facts, created_at, read_at, told, next_at
  FROM notifications
 WHERE user_id = :user_id AND (NOT :unread::boolean OR read_at IS NULL)
   AND (:before_at::timestamptz IS NULL OR (created_at, id) < (:before_at::timestamptz, :before_id::uuid))
 ORDER BY created_at DESC, id DESC
 LIMIT :count::int;

-- name: count_unread
-- How many one person has not read, counted up to a bound.
SELECT count(*)::int AS unread
  FROM (SELECT FROM notifications WHERE user_id = :user_id AND read_at IS NULL LIMIT :most::int) AS counted;

-- name: read_notifications
-- Marks some of one's own as read, or with NULL all up to a moment; what is read goes to no further channel.
UPDATE notifications SET read_at = now(), next_at = NULL
 WHERE user_id = :user_id AND read_at IS NULL
   AND CASE WHEN :ids::uuid[] IS NULL THEN created_at <= coalesce(:up_to::timestamptz, now())
            ELSE id = ANY(:ids::uuid[]) END
RETURNING id;

-- name: read_with_chat
-- Who has read a chat has read what it told of; a draft waits for a signature and not for a reader.
UPDATE notifications SET read_at = now(), next_at = NULL
 WHERE user_id = :user_id AND chat_id = :chat_id AND message_no <= :up_to_no AND read_at IS NULL AND kind <> 'draft'
RETURNING id;

-- name: settle_draft
-- A draft that was decided on waits for nobody any more.
UPDATE notifications SET read_at = now(), next_at = NULL
 WHERE message_id = :message_id AND kind = 'draft' AND read_at IS NULL
RETURNING id, user_id;

-- name: organizations_due
-- Across organizations: where somebody has to be told something now.
SELECT DISTINCT org_id FROM (SELECT org_id FROM notifications WHERE next_at <= now() ORDER BY next_at LIMIT 1000) AS due;

-- name: take_due
-- Those of one organization whose next channels are due; what another process has in hand is left to it.
SELECT id, user_id, kind, chat_id, message_id, message_no, subject_id, facts, created_at, read_at, told, next_at
  FROM notifications
 WHERE next_at <= now()
 ORDER BY next_at
 LIMIT :count::int
   FOR UPDATE SKIP LOCKED;

-- name: step_on
-- How far each notification has come.
UPDATE notifications SET told = step.told, next_at = step.next_at
  FROM unnest(:ids::uuid[], :told::int[], :next_at::timestamptz[]) AS step (id, told, next_at)
 WHERE notifications.id = step.id;

-- name: postpone_due
-- What could not be planned is looked at again in a while.
UPDATE notifications SET next_at = now() + interval '1 minute' WHERE next_at <= now();

-- name: fall_on
-- What a delivery did not bring goes to the next channels at once, unless it was read meanwhile.
UPDATE notifications SET next_at = now()
 WHERE read_at IS NULL AND id IN (SELECT notification_id FROM delivery_items WHERE delivery_id = :delivery_id);

-- name: fall_on_of_channel
-- What waits for a channel goes to the next ones at once, unless it was read meanwhile.
UPDATE notifications SET next_at = now()
 WHERE read_at IS NULL AND id IN (SELECT i.notification_id FROM delivery_items i JOIN deliveries d ON d.id = i.delivery_id
                                   WHERE d.channel_id = :channel_id AND d.status = 'queued');

-- name: told_by
-- The notifications that a delivery tells of, the oldest first.
SELECT n.id, n.user_id, n.kind, n.chat_id, n.message_id, n.message_no, n.subject_id, n.facts, n.created_at, n.read_at,
       n.told, n.next_at
  FROM delivery_items i JOIN notifications n ON n.id = i.notification_id
 WHERE i.delivery_id = :delivery_id
 ORDER BY n.created_at, n.id
 LIMIT :count::int;

-- name: next_due
-- Across organizations: in how many seconds somebody has to be told or something to be sent; NULL when nothing waits.
SELECT extract(epoch FROM least(
           CASE WHEN :plans::boolean THEN (SELECT min(next_at) FROM notifications WHERE next_at IS NOT NULL) END,
           (SELECT min(due_at) FROM deliveries WHERE status = 'queued' AND kind = ANY(:kinds::text[])),
           (SELECT min(lease_until) FROM deliveries WHERE status = 'sending' AND kind = ANY(:kinds::text[])))
           - now())::float8 AS seconds;

-- name: insert_delivery
-- One more thing to send, not before its channel is free.
INSERT INTO deliveries (id, channel_id, user_id, kind, purpose, sealed, due_at)
SELECT :delivery_id, id, :user_id, :kind, :purpose, :sealed::bytea,
       greatest(free_at, coalesce(:due_at::timestamptz, now()))
  FROM notification_channels WHERE id = :channel_id;

-- name: insert_items
-- What it tells of; a notification goes to a channel once.
INSERT INTO delivery_items (delivery_id, notification_id, channel_id)
SELECT :delivery_id, notification, :channel_id FROM unnest(:notification_ids::uuid[]) AS notification
ON CONFLICT DO NOTHING;

-- name: open_digest
-- The digest that still gathers for a channel: nobody has taken it to be sent, nor does before the commit.
SELECT id FROM deliveries
 WHERE channel_id = :channel_id AND status = 'queued' AND purpose = 'digest' AND fence = 0
   FOR UPDATE;

-- name: recent_of_channel
-- When a channel was last told something.
SELECT created_at FROM deliveries
 WHERE channel_id = :channel_id AND created_at > :since AND purpose IN ('note', 'digest')
 ORDER BY created_at DESC LIMIT :count::int;

-- name: claim_deliveries
-- Takes what is due, and what a process that has gone silent had in hand, and raises the fence: from here on only
-- this process can say how it ended. Of an attempt that nobody ended it tells the fence: it may have arrived.
WITH due AS (
    SELECT d.org_id, d.id, NULL::bigint AS lost_fence, NULL::timestamptz AS lost_at
      FROM deliveries d JOIN notification_channels c ON c.org_id = d.org_id AND c.id = d.channel_id
     WHERE d.kind = :kind AND d.status = 'queued' AND d.due_at <= now() AND c.free_at <= now()
     ORDER BY d.due_at
     LIMIT :count::int
       FOR UPDATE OF d SKIP LOCKED
), silent AS (
    SELECT org_id, id, fence AS lost_fence, started_at AS lost_at
      FROM deliveries
     WHERE kind = :kind AND status = 'sending' AND lease_until < now()
     LIMIT :count::int
       FOR UPDATE SKIP LOCKED
), ready AS (
    SELECT * FROM silent UNION ALL SELECT * FROM due LIMIT :count::int
)
UPDATE deliveries
   SET status = 'sending', fence = fence + 1, attempts = attempts + 1, started_at = now(),
       lease_until = now() + :lease_seconds::float8 * interval '1 second'
  FROM ready
 WHERE deliveries.org_id = ready.org_id AND deliveries.id = ready.id
RETURNING deliveries.org_id, deliveries.id, channel_id, kind, fence, attempts, unknowns, parts_sent, started_at, lost_fence, lost_at;

-- name: note_part
-- One more part of a long message has arrived; no row when somebody else has the delivery by now.
UPDATE deliveries
   SET parts_sent = :parts_sent, lease_until = now() + :lease_seconds::float8 * interval '1 second'
 WHERE id = :delivery_id AND fence = :fence AND status = 'sending'
RETURNING id;

-- name: count_unknown
-- An attempt of which nobody knows how it ended.
UPDATE deliveries SET unknowns = unknowns + 1 WHERE id = :delivery_id;

-- name: put_back
-- Nothing was tried, and it waits for a moment; only as told by who has the delivery.
UPDATE deliveries SET status = 'queued', lease_until = NULL, attempts = attempts - 1, due_at = :due_at
 WHERE id = :delivery_id AND fence = :fence AND status = 'sending';

-- name: end_attempt
-- How an attempt ended, only as told by who has the delivery: a late process ends nothing.
UPDATE deliveries
   SET status = :status, lease_until = NULL, failure = :failure::text,
       provider_id = coalesce(:provider_id::text, provider_id),
       unknowns = unknowns + CASE WHEN :is_unknown::boolean THEN 1 ELSE 0 END,
       sealed = CASE WHEN :status IN ('queued', 'dead') THEN sealed END,
       due_at = CASE WHEN :status = 'queued' THEN now() + :pause_seconds::float8 * interval '1 second' ELSE due_at END,
       finished_at = CASE WHEN :status = 'queued' THEN NULL ELSE now() END
 WHERE id = :delivery_id AND fence = :fence AND status = 'sending'
RETURNING id;

-- name: insert_attempt
-- One line of the log for each attempt.
INSERT INTO delivery_attempts (delivery_id, fence, started_at, outcome, detail)
VALUES (:delivery_id, :fence, :started_at, :outcome, left(:detail::text, 500))
ON CONFLICT DO NOTHING;

-- name: find_delivery
-- What a delivery is, whoever sent it.
SELECT id, channel_id, user_id, purpose, sealed, status, parts_sent, provider_id FROM deliveries WHERE id = :delivery_id;

-- name: attempts
-- The log, the newest first, from a cursor on; of one person, or with NULL of everybody.
SELECT a.delivery_id, a.fence, d.user_id, d.channel_id, d.kind AS channel_kind, d.purpose, a.started_at, a.ended_at,
       a.outcome, a.detail
  FROM delivery_attempts a JOIN deliveries d ON d.id = a.delivery_id
 WHERE (:user_id::uuid IS NULL OR d.user_id = :user_id::uuid)
   AND (:before_at::timestamptz IS NULL
        OR (a.ended_at, a.delivery_id, a.fence) < (:before_at::timestamptz, :before_id::uuid, :before_fence::bigint))
 ORDER BY a.ended_at DESC, a.delivery_id DESC, a.fence DESC
 LIMIT :count::int;

-- name: dead_letters
-- What was given up, the newest first, from a cursor on.
SELECT id, user_id, channel_id, kind AS channel_kind, purpose, attempts, unknowns, failure, created_at, finished_at
  FROM deliveries
 WHERE status = 'dead'
   AND (:before_at::timestamptz IS NULL OR (finished_at, id) < (:before_at::timestamptz, :before_id::uuid))
 ORDER BY finished_at DESC, id DESC
 LIMIT :count::int;

-- name: replay
-- Lets a dead letter be tried again from the beginning of its patience; no row when it is not dead.
UPDATE deliveries
   SET status = 'queued', attempts = 0, due_at = now(), finished_at = NULL, failure = NULL
 WHERE id = :delivery_id AND status = 'dead'
   AND NOT EXISTS (SELECT FROM deliveries other WHERE other.channel_id = deliveries.channel_id AND other.status = 'queued'
                      AND other.purpose = 'digest' AND deliveries.purpose = 'digest')
RETURNING channel_id;

-- name: insert_question
-- What the bot asked, to know its answer by.
INSERT INTO telegram_questions (channel_id, message_no, draft_id) VALUES (:channel_id, :message_no, :draft_id)
ON CONFLICT DO NOTHING;

-- name: find_question
-- Which draft a reply corrects.
SELECT draft_id FROM telegram_questions WHERE channel_id = :channel_id AND message_no = :message_no;

-- name: keep_updates
-- Across organizations: what Telegram told, each once. Returns those that are new.
INSERT INTO telegram_updates (bot_id, update_id, content)
SELECT :bot_id, update_id, content
  FROM ROWS FROM (unnest(:update_ids::bigint[]), jsonb_array_elements(:contents::jsonb)) AS told (update_id, content)
ON CONFLICT DO NOTHING
RETURNING update_id;

-- name: last_update
-- The newest that is kept; everything before it was acknowledged. After a week of silence Telegram counts anew.
SELECT max(update_id) AS update_id FROM telegram_updates WHERE bot_id = :bot_id AND received_at > now() - interval '6 days';

-- name: waiting_updates
-- What waits to be worked on, in order.
SELECT update_id, content, tries FROM telegram_updates
 WHERE bot_id = :bot_id AND done_at IS NULL ORDER BY update_id LIMIT :count::int;

-- name: begin_update
-- One more try with what Telegram told; what breaks us every time is not tried for ever.
UPDATE telegram_updates SET tries = tries + 1 WHERE bot_id = :bot_id AND update_id = :update_id AND done_at IS NULL;

-- name: finish_update
-- Worked on: only its number stays.
UPDATE telegram_updates SET done_at = now(), content = NULL WHERE bot_id = :bot_id AND update_id = :update_id;

-- name: forget_old_updates
-- Numbers that Telegram does not repeat any more. The newest stays: what comes next is asked for by it.
DELETE FROM telegram_updates
 WHERE (bot_id, update_id) IN (SELECT bot_id, update_id FROM telegram_updates t
                                WHERE done_at < now() - :keep_hours::int * interval '1 hour'
                                  AND update_id < (SELECT max(update_id) FROM telegram_updates n WHERE n.bot_id = t.bot_id)
                                LIMIT 5000);

-- name: take_lease
-- Gives or prolongs the right to do something alone; no row while another has it.
INSERT INTO leases (name, holder, until) VALUES (:name, :holder, now() + :seconds::float8 * interval '1 second')
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
 WHERE leases.holder = excluded.holder OR leases.until < now()
RETURNING name;

-- name: leave_lease
-- Lets another take over at once.
DELETE FROM leases WHERE name = :name AND holder = :holder;

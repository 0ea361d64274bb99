-- name: insert_event
-- A new event; its id is given.
INSERT INTO calendar_events (id, owner_id, title, description, kind, starts_at, timezone, cron, rrule, every_seconds,
                             ends_at, count, exdates, working_days, country, role_code, instruction, chat_id, misfire,
                             grace_seconds, next_nominal, next_at, uid)
VALUES (:event_id, :owner_id, :title, :description, :kind, :starts_at, :timezone, :cron, :rrule, :every_seconds,
        :ends_at, :count, :exdates::timestamp[], :working_days, :country, :role_code, :instruction, :chat_id, :misfire,
        :grace_seconds, :next_nominal, :next_at, :uid);

-- name: replace_event
-- Everything that a person may change, and with it when it comes next; failures are forgiven.
UPDATE calendar_events
   SET title = :title, description = :description, kind = :kind, starts_at = :starts_at, timezone = :timezone,
       cron = :cron, rrule = :rrule, every_seconds = :every_seconds, ends_at = :ends_at, count = :count,
       exdates = :exdates::timestamp[], working_days = :working_days, country = :country, role_code = :role_code,
       instruction = :instruction, chat_id = :chat_id, misfire = :misfire, grace_seconds = :grace_seconds,
       next_nominal = :next_nominal, next_at = :next_at, status = :status, paused_because = NULL, failures = 0,
       version = version + 1, updated_at = now()
 WHERE id = :event_id;

-- name: set_guests
-- These people, and nobody else, are told of an event.
WITH wanted AS (
    SELECT unnest(:user_ids::uuid[]) AS user_id
), gone AS (
    DELETE FROM calendar_guests
     WHERE event_id = :event_id AND user_id NOT IN (SELECT user_id FROM wanted)
)
INSERT INTO calendar_guests (event_id, user_id) SELECT :event_id, user_id FROM wanted
ON CONFLICT DO NOTHING;

-- name: visible_event
-- An event, for its owner, for whom it tells, and for those who are in its chat.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify
  FROM calendar_events e
 WHERE e.id = :event_id AND e.status <> 'deleted'
   AND (e.owner_id = :user_id
        OR EXISTS (SELECT FROM calendar_guests g WHERE g.event_id = e.id AND g.user_id = :user_id)
        OR EXISTS (SELECT FROM chat_members m WHERE m.chat_id = e.chat_id AND m.user_id = :user_id));

-- name: visible_events
-- A page of the events that a person may see, by id; `mine` leaves the others out.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify
  FROM calendar_events e
 WHERE e.status <> 'deleted' AND (:after_id::uuid IS NULL OR e.id > :after_id::uuid)
   AND (:chat_id::uuid IS NULL OR e.chat_id = :chat_id::uuid)
   AND (:status::text IS NULL OR e.status = :status::text)
   AND (e.owner_id = :user_id
        OR (NOT :mine::boolean
            AND (EXISTS (SELECT FROM calendar_guests g WHERE g.event_id = e.id AND g.user_id = :user_id)
                 OR EXISTS (SELECT FROM chat_members m WHERE m.chat_id = e.chat_id AND m.user_id = :user_id))))
 ORDER BY e.id
 LIMIT :count::int;

-- name: event_of_uid
-- The event of a person that calendar programs know by this name.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify
  FROM calendar_events e WHERE e.owner_id = :user_id AND e.uid = :uid AND e.status <> 'deleted';

-- name: count_events
-- How many events of a person are not over.
SELECT count(*)::int AS count FROM calendar_events WHERE owner_id = :user_id AND status IN ('active', 'paused');

-- name: lock_event
-- Holds an event until the commit; its chat, where it has one, was locked before.
SELECT id FROM calendar_events WHERE id = :event_id AND status <> 'deleted' FOR UPDATE;

-- name: set_status
-- Pauses an event, lets it go on, or ends it.
UPDATE calendar_events
   SET status = :status, paused_because = :because, next_nominal = :next_nominal, next_at = :next_at,
       failures = CASE WHEN :status = 'active' THEN 0 ELSE failures END, version = version + 1, updated_at = now()
 WHERE id = :event_id;

-- name: due_events
-- Some events of every organization that are due; looked at without a lock.
SELECT org_id, id FROM calendar_events
 WHERE status = 'active' AND next_at <= now()
 ORDER BY next_at LIMIT :count::int;

-- name: due_retries
-- Some firings whose failed run is to be tried again.
SELECT org_id, id FROM calendar_firings WHERE retry_at <= now() ORDER BY retry_at LIMIT :count::int;

-- name: seconds_to_next
-- How long nothing is due; NULL when nothing is planned.
SELECT extract(epoch FROM least((SELECT min(next_at) FROM calendar_events WHERE status = 'active'),
                                (SELECT min(retry_at) FROM calendar_firings WHERE retry_at IS NOT NULL))
               - clock_timestamp())::float8 AS seconds;

-- name: chats_of_events
-- The chats of some events, to be locked before the events are.
SELECT DISTINCT chat_id FROM calendar_events WHERE id = ANY(:event_ids::uuid[]) AND chat_id IS NOT NULL;

-- name: take_due
-- Holds those of some events that are still due and that nobody else holds.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify,
       now() AS at
  FROM calendar_events e
 WHERE e.id = ANY(:event_ids::uuid[]) AND e.status = 'active' AND e.next_at <= now()
 ORDER BY e.next_at
   FOR UPDATE OF e SKIP LOCKED;

-- name: insert_firing
-- The firing of an occurrence; no row when there was one already.
INSERT INTO calendar_firings (event_id, occurrence, due_at, status, is_manual, missed)
VALUES (:event_id, :occurrence, :due_at, :status, :is_manual, :missed)
ON CONFLICT (org_id, event_id, occurrence) DO NOTHING
RETURNING id;

-- name: set_firing
-- What became of a firing at its start.
UPDATE calendar_firings
   SET status = :status, message_id = :message_id, run_id = :run_id, answer_id = :answer_id,
       error_code = :error_code, error_detail = :error_detail, attempts = :attempts,
       retry_at = CASE WHEN :retry_seconds::float8 IS NULL THEN NULL
                       ELSE now() + :retry_seconds::float8 * interval '1 second' END,
       ended_at = CASE WHEN :status = 'running' THEN NULL ELSE now() END
 WHERE id = :firing_id;

-- name: set_next
-- When an event comes next; without one it is over.
UPDATE calendar_events
   SET next_nominal = :next_nominal, next_at = :next_at,
       status = CASE WHEN :next_at::timestamptz IS NULL THEN 'ended' ELSE 'active' END
 WHERE id = :event_id AND status = 'active';

-- name: chats_of_firing
-- The chat of a firing's event, to be locked before the firing is.
SELECT e.chat_id FROM calendar_firings f JOIN calendar_events e ON e.id = f.event_id
 WHERE f.id = :firing_id AND e.chat_id IS NOT NULL;

-- name: take_retry
-- Holds a firing that is to be tried again, unless somebody else does.
SELECT f.id, f.event_id, f.run_id, f.attempts, f.occurrence
  FROM calendar_firings f
 WHERE f.id = :firing_id AND f.retry_at <= now() AND f.status = 'running'
   FOR UPDATE SKIP LOCKED;

-- name: event_of_firing
-- The event of a firing, whoever asks.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify
  FROM calendar_events e WHERE e.id = :event_id;

-- name: firings_of_runs
-- The firings that wait for some runs.
SELECT id, event_id, run_id, status, attempts FROM calendar_firings WHERE run_id = ANY(:run_ids::uuid[]);

-- name: firing_of_answer
-- The firing whose answer waits for a signature.
SELECT f.id, f.event_id, f.due_at FROM calendar_firings f
 WHERE f.run_id = :run_id AND f.status = 'waiting';

-- name: end_firing
-- Moves a firing on; NULL leaves its answer as it is.
UPDATE calendar_firings
   SET status = :status, answer_id = coalesce(:answer_id::uuid, answer_id), error_code = :error_code,
       error_detail = :error_detail, retry_at = NULL,
       ended_at = CASE WHEN :status = 'waiting' THEN NULL ELSE now() END
 WHERE id = :firing_id
RETURNING due_at;

-- name: retry_later
-- A failed run is tried again in a while.
UPDATE calendar_firings
   SET retry_at = now() + :seconds::float8 * interval '1 second', error_code = :error_code,
       error_detail = :error_detail
 WHERE id = :firing_id;

-- name: count_attempt
-- One more attempt begins.
UPDATE calendar_firings SET attempts = attempts + 1, retry_at = NULL, status = 'running' WHERE id = :firing_id;

-- name: forgive
-- A firing went well: failures begin to be counted anew.
UPDATE calendar_events SET failures = 0 WHERE id = :event_id AND failures > 0;

-- name: count_failure
-- One more failed firing in a row; with too many the event is paused.
UPDATE calendar_events
   SET failures = failures + 1,
       status = CASE WHEN status = 'active' AND failures + 1 >= :most::int THEN 'paused' ELSE status END,
       paused_because = CASE WHEN status = 'active' AND failures + 1 >= :most::int THEN 'failures'
                             ELSE paused_because END
 WHERE id = :event_id
RETURNING status = 'paused' AS is_paused;

-- name: firings_of_event
-- A page of what happened, newest first.
SELECT id, event_id, occurrence, due_at, fired_at, status, is_manual, missed, attempts, message_id, run_id, answer_id,
       error_code, error_detail, ended_at
  FROM calendar_firings
 WHERE event_id = :event_id
   AND (:before_at::timestamptz IS NULL OR (fired_at, id) < (:before_at::timestamptz, :before_id::uuid))
 ORDER BY fired_at DESC, id DESC
 LIMIT :count::int;

-- name: changed_days
-- What the organization says of single days of a country.
SELECT day, is_working FROM working_days WHERE country = :country ORDER BY day;

-- name: set_days
-- What the organization says of some days; of others it says nothing any more.
WITH given AS (
    SELECT * FROM unnest(:days::date[], :are_working::boolean[]) AS d (day, is_working)
), gone AS (
    DELETE FROM working_days
     WHERE country = :country AND extract(year FROM day) = :year::int AND day NOT IN (SELECT day FROM given)
)
INSERT INTO working_days (country, day, is_working) SELECT :country, day, is_working FROM given
ON CONFLICT (org_id, country, day) DO UPDATE SET is_working = excluded.is_working;

-- name: events_of_country
-- The active events whose days are those of a country.
SELECT e.*, ARRAY(SELECT g.user_id FROM calendar_guests g WHERE g.event_id = e.id ORDER BY g.user_id) AS notify
  FROM calendar_events e
 WHERE e.country = :country AND e.working_days <> 'any' AND e.status = 'active'
   FOR UPDATE OF e;

-- name: set_feed
-- A person's feed has a new secret address; the old one is gone.
INSERT INTO calendar_feeds (user_id, token_hash) VALUES (:user_id, :token_hash)
ON CONFLICT (org_id, user_id) DO UPDATE SET token_hash = excluded.token_hash, created_at = now();

-- name: delete_feed
-- A person's feed has no address any more.
DELETE FROM calendar_feeds WHERE user_id = :user_id;

-- name: feed_of_token
-- Whose feed a secret address is.
SELECT org_id, user_id FROM calendar_feeds WHERE token_hash = :token_hash;

-- name: flush
-- Waits until all that was committed before is on disk; returns the first number that this session's last
-- announcements were given.
SELECT nullif(current_setting('app.first_no', true), '')::bigint AS first_no
  FROM pg_logical_emit_message(true, 'rugpt', '');

-- name: last_event_no
-- The number of the newest announcement of the organization; 0 when there is none.
SELECT last_no FROM event_counters WHERE org_id = current_org();

-- name: oldest_event_no
-- The number of the oldest announcement that is still kept; NULL when there is none.
SELECT min(no) AS no FROM events;

-- name: events_after
-- The announcements after a number, oldest first; channels NULL means all of them.
SELECT no, channel, kind, data, at
  FROM events
 WHERE no > :after::bigint
   AND (:channels::uuid[] IS NULL OR channel = ANY(:channels::uuid[]))
 ORDER BY no
 LIMIT :count::int;

-- name: forget_old_events
-- Deletes a batch of announcements that nobody may resume from any more; returns how many.
DELETE FROM events
 WHERE (org_id, no) IN (
       SELECT org_id, no FROM events WHERE at < now() - :keep_hours::int * interval '1 hour'
        ORDER BY at LIMIT 5000);

-- name: applied_migrations
-- Every migration that the database has seen; any application may look whether the schema is its own.
SELECT name, checksum FROM schema_migrations;

-- name: tell_elsewhere
-- Tells whoever listens on a channel; with nothing to tell it only shows that the server lives.
SELECT count(pg_notify(:channel, payload)) FROM unnest(:payloads::text[]) AS payload;

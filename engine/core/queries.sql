-- name: number_announcements
-- Numbers an organization's announcements without gaps, in the order in which they become visible:
-- the counter's row stays locked until the commit.
WITH counter AS (
    UPDATE event_counters SET last_no = last_no + :count::int
     WHERE org_id = current_org()
    RETURNING last_no - :count::int + 1 AS first_no
), written AS (
    INSERT INTO events (org_id, no, channel, kind, data)
    SELECT current_org(), counter.first_no + line.place - 1, line.channel, line.kind, line.data
      FROM counter,
           unnest(:channels::uuid[], :kinds::text[], :data::jsonb[])
               WITH ORDINALITY AS line (channel, kind, data, place)
)
SELECT first_no FROM counter;

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

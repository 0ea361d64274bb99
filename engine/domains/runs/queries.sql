-- name: waiting
-- How many runs wait: of the organization, of one who asks, and of the most asked of some roles in a chat.
SELECT count(*)::int AS of_organization,
       count(*) FILTER (WHERE asker_id = :asker_id)::int AS of_asker,
       coalesce((SELECT max(waiting)
                   FROM (SELECT count(*) AS waiting FROM runs
                          WHERE chat_id = :chat_id AND role_code = ANY(:role_codes::text[]) AND status = 'queued'
                          GROUP BY role_code) AS of_roles), 0)::int AS of_role
  FROM runs WHERE status = 'queued';

-- name: queue_runs
-- One run for each role that a message calls; none for an asker, a role in a chat, or the organization of which too
-- much waits already. A run that a worker wants is in its hands at once, unless its role has something to do before
-- it in this chat.
WITH called AS (
    SELECT c.*, count(*) OVER () AS of_organization, count(*) OVER (PARTITION BY c.asker_id) AS of_asker
      FROM unnest(:chat_ids::uuid[], :message_ids::uuid[], :asker_ids::uuid[], :positions::bigint[],
                  :role_codes::text[], :wanted::boolean[])
           WITH ORDINALITY AS c (chat_id, message_id, asker_id, position, role_code, is_wanted, place)
), waiting AS MATERIALIZED (
    SELECT asker_id, count(*) AS runs FROM runs WHERE status = 'queued' GROUP BY asker_id
)
INSERT INTO runs (chat_id, message_id, role_code, asker_id, position,
                  status, fence, attempts, worker, lease_until, started_at)
SELECT called.chat_id, called.message_id, called.role_code, called.asker_id, called.position,
       CASE WHEN turn.is_taken THEN 'running' ELSE 'queued' END, turn.is_taken::int, turn.is_taken::int,
       CASE WHEN turn.is_taken THEN :worker::text END,
       CASE WHEN turn.is_taken THEN now() + :lease_seconds::float8 * interval '1 second' END,
       CASE WHEN turn.is_taken THEN now() END
  FROM called,
       LATERAL (SELECT count(*) FILTER (WHERE status = 'queued') AS waiting, count(*) AS active
                  FROM runs
                 WHERE runs.chat_id = called.chat_id AND runs.role_code = called.role_code
                   AND status IN ('queued', 'running')
               ) AS before_it,
       LATERAL (SELECT called.is_wanted AND before_it.active = 0 AS is_taken) AS turn
 WHERE called.of_organization + (SELECT coalesce(sum(runs), 0) FROM waiting) <= :most::int
   AND called.of_asker + (SELECT coalesce(sum(runs), 0) FROM waiting w WHERE w.asker_id = called.asker_id)
       <= :most_of_an_asker::int
   AND before_it.waiting < :most_of_a_role::int
 ORDER BY called.place
ON CONFLICT (org_id, message_id, role_code) DO NOTHING
RETURNING id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
          error_code, error_detail, queued_at, started_at, finished_at;

-- name: runs_of_message
-- The runs that a message started.
SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
       error_code, error_detail, queued_at, started_at, finished_at
  FROM runs WHERE message_id = :message_id ORDER BY role_code;

-- name: find_run
-- One run.
SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
       error_code, error_detail, queued_at, started_at, finished_at
  FROM runs WHERE id = :run_id;

-- name: active_runs
-- The runs of some chats that have begun and not ended.
SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
       error_code, error_detail, queued_at, started_at, finished_at
  FROM runs WHERE chat_id = ANY(:chat_ids::uuid[]) AND status = 'running';

-- name: runs_of_answers
-- The runs that became some messages; found by the questions, which have an index.
SELECT id, answer_id, asker_id FROM runs
 WHERE message_id = ANY(:question_ids::uuid[]) AND answer_id = ANY(:answer_ids::uuid[]);

-- name: unanswered_runs
-- The runs of some chats that have no answer yet, newest first: those that wait or work, and those that ended
-- without one.
(SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
        error_code, error_detail, queued_at, started_at, finished_at
   FROM runs WHERE chat_id = ANY(:chat_ids::uuid[]) AND status IN ('queued', 'running')
  ORDER BY queued_at DESC, id LIMIT :count::int)
UNION ALL
(SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
        error_code, error_detail, queued_at, started_at, finished_at
   FROM runs WHERE chat_id = ANY(:chat_ids::uuid[]) AND status IN ('failed', 'cancelled') AND :with_ended::boolean
  ORDER BY finished_at DESC LIMIT :count::int);

-- name: runs_now
-- What waits and works in the organization, in the order in which it was asked.
SELECT id, chat_id, message_id, answer_id, role_code, asker_id, status, fence, role_version, model, limit_hit,
       error_code, error_detail, queued_at, started_at, finished_at, worker, attempts,
       cancel_requested_at IS NOT NULL AS is_stopping
  FROM runs WHERE status IN ('queued', 'running')
 ORDER BY status DESC, queued_at, id
 LIMIT :count::int;

-- name: tool_uses
-- What tools the last attempt of a run has used, in their order.
SELECT place, step, call_id, tool, arguments, outcome, result, seconds
  FROM tool_calls
 WHERE run_id = :run_id AND fence = (SELECT max(fence) FROM tool_calls WHERE run_id = :run_id)
 ORDER BY place
 LIMIT 500;

-- name: role_versions
-- Since when some contents of roles are known.
SELECT version, first_seen_at FROM role_versions WHERE version = ANY(:versions::text[]);

-- name: claim_runs
-- Takes runs that wait, or whose worker has gone silent, and raises their fence: from here on only this
-- worker can finish them. A role answers in a chat in the order in which it was asked, so only the first of
-- each (organization, chat, role) is looked at, found by steps through an index however many wait behind it.
-- Of each organization some are looked at, from a random chat on, so that the cost has a bound and none is
-- left out for long; the organizations take turns, and within one the oldest goes first. A worker may take
-- runs of some roles only, or of all but some; what it passes over is bounded as well.
WITH RECURSIVE firms AS (
    (SELECT org_id FROM runs WHERE status IN ('queued', 'running') ORDER BY org_id LIMIT 1)
    UNION ALL
    SELECT next.org_id
      FROM firms, LATERAL (SELECT r.org_id FROM runs r
                            WHERE r.status IN ('queued', 'running') AND r.org_id > firms.org_id
                            ORDER BY r.org_id LIMIT 1) AS next
), chance AS MATERIALIZED (
    SELECT gen_random_uuid() AS chat_id, greatest(2, 800 / greatest(count(*), 1)) AS most,
           greatest(20, 4000 / greatest(count(*), 1)) AS most_steps
      FROM firms
), heads AS MATERIALIZED (
    SELECT found.*, row_number() OVER (PARTITION BY found.org_id ORDER BY found.queued_at) AS turn
      FROM firms, chance,
           LATERAL (VALUES (chance.chat_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid),
                           ('00000000-0000-0000-0000-000000000000'::uuid, chance.chat_id)) AS arc (since, until),
           LATERAL (
               WITH RECURSIVE walk AS (
                   (SELECT r.org_id, r.chat_id, r.role_code, r.id, r.position, r.fence, r.status, r.lease_until,
                           r.queued_at, 1 AS steps
                      FROM runs r
                     WHERE r.status IN ('queued', 'running') AND r.org_id = firms.org_id
                       AND r.chat_id >= arc.since AND r.chat_id < arc.until
                     ORDER BY r.org_id, r.chat_id, r.role_code, r.position, r.queued_at, r.id LIMIT 1)
                   UNION ALL
                   SELECT next.*
                     FROM walk, LATERAL (
                         SELECT r.org_id, r.chat_id, r.role_code, r.id, r.position, r.fence, r.status, r.lease_until,
                                r.queued_at, walk.steps + 1
                           FROM runs r
                          WHERE r.status IN ('queued', 'running') AND r.org_id = walk.org_id
                            AND walk.steps < (SELECT most_steps FROM chance)
                            AND (r.chat_id, r.role_code) > (walk.chat_id, walk.role_code) AND r.chat_id < arc.until
                          ORDER BY r.org_id, r.chat_id, r.role_code, r.position, r.queued_at, r.id LIMIT 1) AS next
               )
               SELECT org_id, id, position, fence, queued_at
                 FROM walk
                WHERE (status = 'queued' OR lease_until < now())
                  AND (:only_roles::text[] IS NULL OR role_code = ANY(:only_roles))
                  AND role_code <> ALL(:but_roles::text[])
                LIMIT (SELECT most FROM chance)
           ) AS found
), ready AS (
    -- What others have changed since it was seen is left to the next look.
    SELECT r.org_id, r.id
      FROM heads JOIN runs r ON r.org_id = heads.org_id AND r.id = heads.id
     WHERE (r.status = 'queued' OR (r.status = 'running' AND r.lease_until < now()))
       AND r.position = heads.position AND r.fence = heads.fence
     ORDER BY heads.turn, heads.queued_at
     LIMIT :count::int
       FOR UPDATE OF r SKIP LOCKED
)
UPDATE runs
   SET status = 'running', fence = fence + 1, attempts = attempts + 1, worker = :worker,
       lease_until = now() + :lease_seconds::float8 * interval '1 second',
       started_at = coalesce(started_at, now())
  FROM ready
 WHERE runs.org_id = ready.org_id AND runs.id = ready.id
RETURNING runs.org_id, runs.id, chat_id, message_id, answer_id, role_code, asker_id, fence, attempts,
          cancel_requested_at IS NOT NULL AS cancel_requested;

-- name: load_by_role
-- What could be taken now and what is at work, by role; a very long queue is not counted to its end.
SELECT role_code, count(*) FILTER (WHERE status = 'queued')::int AS waiting,
       count(*) FILTER (WHERE status = 'running')::int AS running,
       coalesce(extract(epoch FROM now() - min(queued_at) FILTER (WHERE status = 'queued')), 0)::float8
           AS oldest_seconds
  FROM (SELECT DISTINCT ON (org_id, chat_id, role_code) role_code, status, queued_at
          FROM runs WHERE status IN ('queued', 'running')
         ORDER BY org_id, chat_id, role_code, position, queued_at, id LIMIT 20000) AS heads
 GROUP BY role_code;

-- name: renew_leases
-- Tells that the worker lives; returns the runs that are still its own, and which of them should stop.
UPDATE runs
   SET lease_until = now() + :lease_seconds::float8 * interval '1 second'
  FROM unnest(:org_ids::uuid[], :run_ids::uuid[], :fences::bigint[]) AS mine (org_id, run_id, fence)
 WHERE runs.org_id = mine.org_id AND runs.id = mine.run_id AND runs.fence = mine.fence AND runs.status = 'running'
RETURNING runs.id, cancel_requested_at IS NOT NULL AS cancel_requested;

-- name: hand_back
-- Gives runs up so that another worker takes them at once; no attempt is counted.
UPDATE runs
   SET status = 'queued', worker = NULL, lease_until = NULL, attempts = attempts - 1
  FROM unnest(:org_ids::uuid[], :run_ids::uuid[], :fences::bigint[]) AS mine (org_id, run_id, fence)
 WHERE runs.org_id = mine.org_id AND runs.id = mine.run_id AND runs.fence = mine.fence AND runs.status = 'running';

-- name: end_leases
-- Lets others take at once what workers held that are known to be dead; should one live, its fence stops it.
UPDATE runs SET lease_until = now()
 WHERE status = 'running' AND lease_until > now() AND worker = ANY(:workers::text[])
RETURNING id;

-- name: cancel_requests
-- Which of a worker's runs somebody wants to stop.
SELECT id FROM runs
 WHERE status = 'running' AND worker = :worker AND cancel_requested_at IS NOT NULL;

-- name: finish_runs
-- Ends attempts, each only if its fence is still the run's: a late worker ends nothing.
UPDATE runs
   SET status = done.status, worker = NULL, lease_until = NULL, finished_at = now(), model = done.model,
       role_version = done.role_version, limit_hit = done.limit_hit,
       error_code = done.error_code, error_detail = done.error_detail
  FROM unnest(:run_ids::uuid[], :fences::bigint[], :statuses::text[], :models::text[], :role_versions::text[],
              :limits_hit::text[], :error_codes::text[], :error_details::text[])
       AS done (run_id, fence, status, model, role_version, limit_hit, error_code, error_detail)
 WHERE runs.id = done.run_id AND runs.fence = done.fence AND runs.status = 'running'
RETURNING runs.id;

-- name: cancel_run
-- A waiting run ends at once; a running one is marked and its worker stops it.
UPDATE runs
   SET cancel_requested_at = coalesce(cancel_requested_at, now()),
       finished_at = CASE WHEN status = 'queued' THEN now() END,
       status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
 WHERE id = :run_id AND status IN ('queued', 'running')
RETURNING id, chat_id, message_id, asker_id, role_code, answer_id, status, fence;

-- name: cancel_runs_of_chat
-- Ends what waits in a chat and marks what works there.
UPDATE runs
   SET cancel_requested_at = coalesce(cancel_requested_at, now()),
       finished_at = CASE WHEN status = 'queued' THEN now() END,
       status = CASE WHEN status = 'queued' THEN 'cancelled' ELSE status END
 WHERE id IN (SELECT id FROM runs WHERE chat_id = :chat_id AND status IN ('queued', 'running')
               ORDER BY id FOR UPDATE)
RETURNING id, chat_id, message_id, asker_id, role_code, answer_id, status, fence;

-- name: retry_run
-- Queues a run that failed or was cancelled once more, behind what its role was asked since.
UPDATE runs
   SET status = 'queued', position = :position, attempts = 0, cancel_requested_at = NULL, queued_at = now(),
       started_at = NULL, finished_at = NULL, error_code = NULL, error_detail = NULL, limit_hit = NULL
 WHERE id = :run_id AND status IN ('failed', 'cancelled')
RETURNING id;

-- name: insert_events
-- Rows of run events, each holding several; they need no fence, because a late writer's ids sort below.
INSERT INTO run_events (run_id, first_id, last_id, items)
SELECT row.run_id, row.first_id, row.last_id, row.items
  FROM ROWS FROM (unnest(:run_ids::uuid[]), unnest(:first_ids::bigint[]), unnest(:last_ids::bigint[]),
                  jsonb_array_elements(:items::jsonb)) AS row (run_id, first_id, last_id, items)
ON CONFLICT DO NOTHING;

-- name: events_after
-- The rows of a run's events that reach beyond an id, in their order.
SELECT items FROM run_events WHERE run_id = :run_id AND last_id > :after::bigint ORDER BY first_id LIMIT 2000;

-- name: insert_tool_uses
-- The audit of the tools that an attempt has used.
INSERT INTO tool_calls (run_id, fence, place, step, call_id, tool, arguments, outcome, result, seconds)
SELECT :run_id, :fence, used.*
  FROM unnest(:places::int[], :steps::int[], :call_ids::text[], :tools::text[], :arguments::jsonb[],
              :outcomes::text[], :results::text[], :seconds::float8[]) AS used
ON CONFLICT DO NOTHING;

-- name: keep_role_version
-- What a role said at the time of a run, kept once by its content.
INSERT INTO role_versions (version, role_code, definition) VALUES (:version, :role_code, :definition::jsonb)
ON CONFLICT DO NOTHING;

-- name: forget_checkpoints
-- Deletes every step that runs have kept.
WITH steps AS (DELETE FROM checkpoints WHERE run_id = ANY(:run_ids::uuid[])),
     blobs AS (DELETE FROM checkpoint_blobs WHERE run_id = ANY(:run_ids::uuid[]))
DELETE FROM checkpoint_writes WHERE run_id = ANY(:run_ids::uuid[]);

-- name: forget_old_checkpoints
-- Deletes steps that a late worker has written after its run's end; a run that may still go on keeps its own.
WITH old AS (
    SELECT DISTINCT kept.org_id, kept.run_id
      FROM (SELECT org_id, run_id, at FROM checkpoints
            UNION ALL SELECT org_id, run_id, at FROM checkpoint_blobs
            UNION ALL SELECT org_id, run_id, at FROM checkpoint_writes) AS kept
      JOIN runs ON runs.org_id = kept.org_id AND runs.id = kept.run_id
     WHERE kept.at < now() - :keep_hours::int * interval '1 hour' AND runs.status NOT IN ('queued', 'running')
     LIMIT 1000
), steps AS (
    DELETE FROM checkpoints WHERE (org_id, run_id) IN (SELECT org_id, run_id FROM old)
), blobs AS (
    DELETE FROM checkpoint_blobs WHERE (org_id, run_id) IN (SELECT org_id, run_id FROM old)
), writes AS (
    DELETE FROM checkpoint_writes WHERE (org_id, run_id) IN (SELECT org_id, run_id FROM old)
)
SELECT count(*)::int AS runs FROM old;

-- name: forget_old_run_events
-- Deletes a batch of run events that nobody may resume from any more.
DELETE FROM run_events
 WHERE (org_id, run_id, first_id) IN (
       SELECT org_id, run_id, first_id FROM run_events
        WHERE at < now() - :keep_hours::int * interval '1 hour' LIMIT 5000);

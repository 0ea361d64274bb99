-- name: queue_runs
-- One run for each role that a message calls; calling again changes nothing.
INSERT INTO runs (chat_id, message_id, role_code, asker_id, position)
SELECT :chat_id, :message_id, code, :asker_id, :position
  FROM unnest(:role_codes::text[]) AS code
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

-- name: claim_runs
-- Takes runs that wait, or whose worker has gone silent, and raises their fence: from here on only this
-- worker can finish them. A role answers in a chat in the order in which it was asked.
WITH ready AS (
    SELECT r.org_id, r.id
      FROM runs r
     WHERE (r.status = 'queued' OR (r.status = 'running' AND r.lease_until < now()))
       AND NOT EXISTS (SELECT FROM runs earlier
                        WHERE earlier.org_id = r.org_id AND earlier.chat_id = r.chat_id
                          AND earlier.role_code = r.role_code AND earlier.status IN ('queued', 'running')
                          AND (earlier.position, earlier.queued_at, earlier.id) < (r.position, r.queued_at, r.id))
     ORDER BY r.queued_at
     LIMIT :count::int
       FOR UPDATE SKIP LOCKED
)
UPDATE runs
   SET status = 'running', fence = fence + 1, attempts = attempts + 1, worker = :worker,
       lease_until = now() + :lease_seconds::float8 * interval '1 second',
       started_at = coalesce(started_at, now())
  FROM ready
 WHERE runs.org_id = ready.org_id AND runs.id = ready.id
RETURNING runs.org_id, runs.id, chat_id, message_id, answer_id, role_code, asker_id, fence, attempts,
          cancel_requested_at IS NOT NULL AS cancel_requested;

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
RETURNING status, fence;

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

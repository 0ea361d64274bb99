-- name: insert_session
-- It lasts so long if it is not renewed.
INSERT INTO sessions (user_id, expires_at)
VALUES (:user_id, now() + make_interval(secs => :lifetime_seconds))
RETURNING id;

-- name: insert_refresh_token
-- Only its digest: what is stored renews nothing.
INSERT INTO refresh_tokens (token_hash, session_id) VALUES (:token_hash, :session_id);

-- name: find_refresh_token
-- Across organizations: nobody knows yet whose it is.
SELECT org_id, session_id FROM refresh_tokens WHERE token_hash = :token_hash;

-- name: owner_of_session
-- Ended or not.
SELECT user_id FROM sessions WHERE id = :session_id;

-- name: lock_session
-- Two refreshes of one session take turns.
SELECT id, user_id, expires_at, ended_at, expires_at <= now() AS is_expired
  FROM sessions
 WHERE id = :session_id
   FOR UPDATE;

-- name: is_session_live
-- The truth, for a guard that cannot be sure.
SELECT EXISTS (SELECT FROM sessions WHERE id = :session_id AND ended_at IS NULL AND expires_at > now()) AS found;

-- name: use_refresh_token
-- Touches no row when the token was used before.
UPDATE refresh_tokens SET used_at = now() WHERE token_hash = :token_hash AND used_at IS NULL;

-- name: was_just_used
-- A successor that was used shows that the answer had arrived, so this is no repetition of it. A token that
-- a new password used up has no successor.
SELECT EXISTS (
       SELECT
         FROM refresh_tokens AS used
         JOIN refresh_tokens AS successor USING (org_id, session_id)
        WHERE used.token_hash = :token_hash
          AND used.used_at > now() - make_interval(secs => :seconds)
          AND successor.token_hash = :successor_hash
          AND successor.used_at IS NULL) AS found;

-- name: use_up_refresh_tokens
-- Whatever was issued for this session until now renews nothing.
UPDATE refresh_tokens SET used_at = now() WHERE session_id = :session_id AND used_at IS NULL;

-- name: extend_session
-- Unused, it lasts this long from now.
UPDATE sessions
   SET expires_at = now() + make_interval(secs => :lifetime_seconds)
 WHERE id = :session_id;

-- name: end_session
-- Touches no row when it has ended before: the first reason stays. The clock's time, not the
-- transaction's, so that a guard that looks at the last minutes cannot miss a slow transaction.
UPDATE sessions
   SET ended_at = clock_timestamp(), ended_reason = :reason
 WHERE id = :session_id AND ended_at IS NULL;

-- name: end_sessions_of_user
-- All of a person's, but for one where `but` is given.
UPDATE sessions
   SET ended_at = clock_timestamp(), ended_reason = :reason
 WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM :but::uuid
RETURNING id;

-- name: recently_ended
-- Across organizations.
SELECT id FROM sessions WHERE ended_at > now() - make_interval(secs => :seconds);

-- name: forget_old_sessions
-- Across organizations; their refresh tokens go with them. At most so many at once, so that nobody waits long.
DELETE FROM sessions
 WHERE (org_id, id) IN (
       SELECT org_id, id
         FROM sessions
        WHERE expires_at < now() - make_interval(days => :days)
           OR ended_at < now() - make_interval(days => :days)
        LIMIT :count);

-- name: organization_by_slug
-- Across organizations.
SELECT id FROM organizations WHERE slug = :slug;

-- name: is_seeded
-- The mark that `rugpt seed` leaves in what it makes; nobody rewrites the audit trail.
SELECT EXISTS (SELECT FROM audit_log WHERE action = 'seed.created') AS found;

-- name: lock_organization
-- Whoever wants to add a row to the organization waits for this, and finds it gone.
SELECT slug FROM organizations WHERE id = :org_id FOR UPDATE;

-- name: end_sessions
-- A running engine hears of it within seconds and ends their streams.
UPDATE sessions SET ended_at = now(), ended_reason = 'organization_removed' WHERE ended_at IS NULL;

-- name: tables_of_an_organization
-- Every table with rows of organizations, and those of them that it points to.
SELECT t.oid::regclass::text AS name,
       array(SELECT DISTINCT k.confrelid::regclass::text
               FROM pg_constraint k
              WHERE k.contype = 'f' AND k.conrelid = t.oid AND k.confrelid <> t.oid) AS points_to
  FROM pg_class t
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'org_id' AND NOT a.attisdropped
 WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relnamespace = 'public'::regnamespace;

-- name: insert_organization
-- Returns no row when another organization has this slug; the index knows of all, whoever may see them.
INSERT INTO organizations (name, slug)
VALUES (:name, :slug)
ON CONFLICT (slug) DO NOTHING
RETURNING id, name, slug, created_at;

-- name: insert_event_counter
-- Its event log begins at 1.
INSERT INTO event_counters DEFAULT VALUES;

-- name: find_organization
-- The fence leaves one row at most.
SELECT id, name, slug, created_at FROM organizations;

-- name: find_with_roles
-- The organization beside each thing it ever set about a role; one row where it set nothing.
SELECT o.id, o.name, o.slug, o.created_at, s.role_code, s.enabled, s.instruction
  FROM organizations o LEFT JOIN role_settings s ON s.org_id = o.id;

-- name: rename_organization
-- The slug stays: people sign in with it. The fence leaves one row at most.
UPDATE organizations SET name = :name RETURNING id, name, slug, created_at;

-- name: is_any_organization
-- Across organizations.
SELECT EXISTS (SELECT FROM organizations) AS found;

-- name: take_registration_turn
-- One registration at a time, on all machines, until the transaction ends.
SELECT pg_advisory_xact_lock(7810427);

-- name: role_settings
-- Only what was ever set.
SELECT role_code, enabled, instruction FROM role_settings ORDER BY role_code;

-- name: set_role
-- Only what is given changes.
INSERT INTO role_settings (role_code, enabled, instruction)
VALUES (:role_code, coalesce(:enabled, true), coalesce(:instruction, ''))
ON CONFLICT (org_id, role_code) DO UPDATE
   SET enabled     = coalesce(:enabled, role_settings.enabled),
       instruction = coalesce(:instruction, role_settings.instruction),
       updated_at  = now()
RETURNING enabled, instruction;

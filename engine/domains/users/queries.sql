-- name: insert_user
-- The indexes refuse a second one of the same username or e-mail address, whatever its case.
INSERT INTO users (username, email, display_name, role, locale, timezone, password_hash, must_change_password)
VALUES (:username, :email, :display_name, :role, :locale, :timezone, :password_hash, :must_change_password)
RETURNING id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at;

-- name: count_users
-- The deactivated too.
SELECT count(*) AS number FROM users;

-- name: find_user
-- Active or not.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE id = :user_id;

-- name: lock_user
-- Two changes of one person take turns, so that each sees what the other made of them.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE id = :user_id
   FOR UPDATE;

-- name: lock_active_user
-- Returns no row for a person who may not sign in; until the commit nobody can take that away, or
-- change what they may do, so that what is made for them now is not out of date at birth.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE id = :user_id AND is_active
   FOR SHARE;

-- name: lock_active_admins
-- In one order, so that two admins who demote each other wait in a line and not in a circle; whoever
-- waited sees only those who are still admins.
SELECT id
  FROM users
 WHERE role = 'admin' AND is_active
 ORDER BY id
   FOR UPDATE;

-- name: users_by_ids
-- Active or not; those who do not exist are not there.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE id = ANY(:user_ids::uuid[]);

-- name: users_by_usernames
-- Case does not matter.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE lower(username) IN (SELECT lower(name) FROM unnest(:usernames::text[]) AS name);

-- name: active_admins
-- Without a lock: for telling them something.
SELECT id FROM users WHERE role = 'admin' AND is_active ORDER BY id;

-- name: page_of_users
-- By username, from the one after `after`; an empty `after` is the beginning.
SELECT id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at
  FROM users
 WHERE lower(username) > lower(:after::text)
 ORDER BY lower(username)
 LIMIT :count;

-- name: update_user
-- Only what is given changes.
UPDATE users
   SET display_name = coalesce(:display_name, display_name),
       email        = coalesce(:email, email),
       locale       = coalesce(:locale, locale),
       timezone     = coalesce(:timezone, timezone),
       role         = coalesce(:role, role),
       is_active    = coalesce(:is_active, is_active)
 WHERE id = :user_id
RETURNING id, username, email, display_name, role, is_active, locale, timezone, must_change_password, created_at;

-- name: password_hash_of
-- Returns no row for those who may not sign in.
SELECT password_hash FROM users WHERE id = :user_id AND is_active;

-- name: replace_password
-- Only where the password is still the one that was checked: of two changes at once one wins.
UPDATE users
   SET password_hash = :new_hash, must_change_password = :must_change_password
 WHERE id = :user_id AND password_hash = :old_hash;

-- name: set_temporary_password
-- Whatever the password was; a person who is not there touches no row.
UPDATE users SET password_hash = :password_hash, must_change_password = true WHERE id = :user_id;

-- name: refresh_hash
-- The same password, kept at today's costs, unless it was changed meanwhile.
UPDATE users SET password_hash = :new_hash WHERE id = :user_id AND password_hash = :old_hash;

-- name: accounts_named
-- Across organizations. Exactly one of the two names is given.
SELECT users.org_id, users.id AS user_id, users.password_hash, users.is_active
  FROM users
  JOIN organizations ON organizations.id = users.org_id
 WHERE (lower(users.username) = lower(:username::text) OR lower(users.email) = lower(:email::text))
   AND (:slug::text IS NULL OR organizations.slug = :slug)
 ORDER BY users.is_active DESC, users.id
 LIMIT :count;

-- Queues that stay quick whatever their length. Building the two indexes keeps writers of runs waiting for
-- as long as it reads the table; readers are not held up.

-- A role's turns in a chat, in their exact order: whose turn it is, is one step into this index.
CREATE INDEX runs_turns ON runs (org_id, chat_id, role_code, position, queued_at, id)
    WHERE status IN ('queued', 'running');
DROP INDEX runs_in_order; -- The same without the last two columns; the release before finds its way in this one.

-- What somebody, a chat's role or a whole organization waits for, counted before more is queued.
CREATE INDEX runs_waiting ON runs (org_id, asker_id, chat_id, role_code) WHERE status = 'queued';
DROP INDEX runs_queued; -- Nobody asks for the oldest of all organizations any more.

-- The door to chats for statements of other rooms: whether a chat is still there.
CREATE FUNCTION chat_exists(chat uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000
    RETURN EXISTS (SELECT FROM chats WHERE id = chat AND deleted_at IS NULL);

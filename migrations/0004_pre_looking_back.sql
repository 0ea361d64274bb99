-- What people look back for: runs of a chat that ended without an answer, and messages of all their chats by
-- time. Building an index keeps writers of its table waiting for as long as it reads it; readers are not held up.
CREATE INDEX runs_unanswered ON runs (org_id, chat_id, finished_at DESC) WHERE status IN ('failed', 'cancelled');
CREATE INDEX messages_by_time ON messages (org_id, created_at, id);

-- name: insert_chat
-- A new chat with its members.
WITH wanted AS (
    SELECT DISTINCT unnest(:member_ids::uuid[]) AS user_id
), chat AS (
    INSERT INTO chats (title, kind, role_codes, created_by)
    SELECT :title, :kind, :role_codes::text[], :created_by
    RETURNING id
), joined AS (
    INSERT INTO chat_members (chat_id, user_id)
    SELECT chat.id, wanted.user_id FROM chat, wanted
)
SELECT id FROM chat;

-- name: chat_of_member
-- A chat as one of its members sees it; no row for anybody else.
SELECT c.id, c.title, c.kind, c.role_codes AS roles, c.created_by, c.created_at, c.last_message_no,
       c.last_message_at, greatest(c.last_message_no - me.last_read_no, 0) AS unread,
       least(me.last_read_no, c.last_message_no) AS read_up_to_no,
       ARRAY(SELECT m.user_id FROM chat_members m WHERE m.chat_id = c.id ORDER BY m.joined_at, m.user_id) AS members,
       (SELECT jsonb_build_object('author_id', m.author_id, 'role_code', m.role_code, 'is_deleted', m.deleted_at IS NOT NULL,
                                  'is_withdrawn', m.withdrawn_at IS NOT NULL,
                                  'text', CASE WHEN m.withdrawn_at IS NULL THEN left(m.content, 160) ELSE '' END)
          FROM messages m WHERE m.chat_id = c.id AND m.no = c.last_message_no) AS last_message
  FROM chats c
  JOIN chat_members me ON me.chat_id = c.id AND me.user_id = :user_id
 WHERE c.id = :chat_id AND c.deleted_at IS NULL;

-- name: chats_of_member
-- A member's chats, the most recently used first, from a cursor on.
SELECT c.id, c.title, c.kind, c.role_codes AS roles, c.created_by, c.created_at, c.last_message_no,
       c.last_message_at, greatest(c.last_message_no - me.last_read_no, 0) AS unread,
       least(me.last_read_no, c.last_message_no) AS read_up_to_no,
       ARRAY(SELECT m.user_id FROM chat_members m WHERE m.chat_id = c.id ORDER BY m.joined_at, m.user_id) AS members,
       (SELECT jsonb_build_object('author_id', m.author_id, 'role_code', m.role_code, 'is_deleted', m.deleted_at IS NOT NULL,
                                  'is_withdrawn', m.withdrawn_at IS NOT NULL,
                                  'text', CASE WHEN m.withdrawn_at IS NULL THEN left(m.content, 160) ELSE '' END)
          FROM messages m WHERE m.chat_id = c.id AND m.no = c.last_message_no) AS last_message
  FROM chat_members me
  JOIN chats c ON c.id = me.chat_id
 WHERE me.user_id = :user_id AND c.deleted_at IS NULL
   AND (:before_at::timestamptz IS NULL OR (c.last_message_at, c.id) < (:before_at::timestamptz, :before_id::uuid))
 ORDER BY c.last_message_at DESC, c.id DESC
 LIMIT :count::int;

-- name: chat_ids_of_member
-- The ids of all the chats that a person is in.
SELECT me.chat_id FROM chat_members me JOIN chats c ON c.id = me.chat_id
 WHERE me.user_id = :user_id AND c.deleted_at IS NULL;

-- name: titles_of
-- The titles of chats that are still there.
SELECT id, title FROM chats WHERE id = ANY(:chat_ids::uuid[]) AND deleted_at IS NULL;

-- name: those_in
-- Of some chats and people those where the chat is still there and the person in it.
SELECT me.chat_id, me.user_id
  FROM unnest(:chat_ids::uuid[], :user_ids::uuid[]) AS place (chat_id, user_id)
  JOIN chat_members me ON me.chat_id = place.chat_id AND me.user_id = place.user_id
  JOIN chats c ON c.id = me.chat_id
 WHERE c.deleted_at IS NULL;

-- name: update_chat
-- Changes what is given; NULL leaves a thing as it is.
UPDATE chats
   SET title = coalesce(:title::text, title), role_codes = coalesce(:role_codes::text[], role_codes)
 WHERE id = :chat_id AND deleted_at IS NULL;

-- name: delete_chat
-- The chat disappears for everybody; its rows stay until erasure.
UPDATE chats SET deleted_at = now() WHERE id = :chat_id AND deleted_at IS NULL;

-- name: members_of_chat
-- Who is in a chat.
SELECT user_id FROM chat_members WHERE chat_id = :chat_id;

-- name: insert_members
-- Adds people who are not yet in the chat; they have nothing unread. Returns those who are new.
INSERT INTO chat_members (chat_id, user_id, last_read_no)
SELECT c.id, wanted.user_id, c.last_message_no
  FROM chats c, (SELECT DISTINCT unnest(:member_ids::uuid[]) AS user_id) wanted
 WHERE c.id = :chat_id
ON CONFLICT DO NOTHING
RETURNING user_id;

-- name: delete_member
-- Takes a person out of a chat.
DELETE FROM chat_members WHERE chat_id = :chat_id AND user_id = :user_id;

-- name: enter_chat
-- Locks the chat until the commit; no row for those who are not in it. Returns whether a role may be called there.
SELECT (c.role_codes = '{}' OR :role_code = ANY(c.role_codes)) AND :role_code <> ALL(disabled_roles()) AS lets_call
  FROM chats c
 WHERE c.id = :chat_id AND c.deleted_at IS NULL
   AND EXISTS (SELECT FROM chat_members me WHERE me.chat_id = c.id AND me.user_id = :user_id)
   FOR NO KEY UPDATE OF c;

-- name: insert_messages
-- The next messages of some chats, one in each; the lock of a chat lets its messages be numbered one after another,
-- and the order of the locks lets no two batches wait for each other. Of those whom a message names and calls it
-- keeps the people who are in the chat and the roles that may be called there. No row for an author who is not in the
-- chat, nor for one who has used this client_message_id here before.
WITH given AS (
    SELECT g.*
      FROM unnest(:chat_ids::uuid[], :author_ids::uuid[], :contents::text[], :reply_tos::uuid[],
                  :client_message_ids::text[], :vias::text[])
           WITH ORDINALITY AS g (chat_id, author_id, content, reply_to, client_message_id, via, place)
), welcome AS MATERIALIZED (
    -- Looked for one by one, and the chats by an array: the plan is made while the tables are small, and outlives that.
    SELECT *
      FROM given
     WHERE (SELECT true FROM chat_members me WHERE me.chat_id = given.chat_id AND me.user_id = given.author_id)
       AND (SELECT old.id FROM messages old
             WHERE old.chat_id = given.chat_id AND old.author_id = given.author_id
               AND old.client_message_id = given.client_message_id LIMIT 1) IS NULL
), locked AS MATERIALIZED (
    SELECT id FROM chats
     WHERE id = ANY(ARRAY(SELECT chat_id FROM welcome)) AND deleted_at IS NULL
     ORDER BY id
       FOR NO KEY UPDATE
), numbered AS (
    UPDATE chats SET last_message_no = last_message_no + 1, last_message_at = now()
     WHERE id = ANY(ARRAY(SELECT id FROM locked))
    RETURNING id, last_message_no, role_codes
), counted AS MATERIALIZED (
    SELECT welcome.*, numbered.last_message_no AS no, numbered.role_codes
      FROM numbered JOIN welcome ON welcome.chat_id = numbered.id
), seen AS (
    UPDATE chat_members SET last_read_no = counted.no
      FROM counted
     WHERE chat_members.chat_id = counted.chat_id AND chat_members.user_id = counted.author_id
), mentioned AS (
    SELECT counted.place, 1 AS part, named.turn, 'user' AS kind, named.code, named.id
      FROM counted
      JOIN unnest(:named_places::int[], :named_codes::text[], :named_ids::uuid[])
           WITH ORDINALITY AS named (place, code, id, turn) ON named.place = counted.place
     WHERE (SELECT true FROM chat_members m WHERE m.chat_id = counted.chat_id AND m.user_id = named.id)
    UNION ALL
    SELECT counted.place, 2, called.turn, 'role', called.code, NULL
      FROM counted
      JOIN unnest(:called_places::int[], :called_codes::text[])
           WITH ORDINALITY AS called (place, code, turn) ON called.place = counted.place
     WHERE (counted.role_codes = '{}' OR called.code = ANY(counted.role_codes))
       AND called.code <> ALL(disabled_roles())
), mentions AS (
    SELECT place, jsonb_agg(jsonb_build_object('kind', kind, 'code', code, 'id', id) ORDER BY part, turn) AS list
      FROM mentioned
     GROUP BY place
)
INSERT INTO messages (chat_id, no, author_id, content, mentions, reply_to, client_message_id, via)
SELECT counted.chat_id, counted.no, counted.author_id, counted.content, coalesce(mentions.list, '[]'),
       counted.reply_to, counted.client_message_id, counted.via
  FROM counted LEFT JOIN mentions ON mentions.place = counted.place
RETURNING id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
          edited_at, deleted_at, withdrawn_at, via;

-- name: message_by_client_id
-- The message that this author posted here under this client_message_id.
SELECT id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
       edited_at, deleted_at, withdrawn_at, via
  FROM messages
 WHERE chat_id = :chat_id AND author_id = :author_id AND client_message_id = :client_message_id::text;

-- name: insert_answers
-- What roles say at the end of their runs, numbered chat by chat in the order given. The chats were
-- locked before, in the order of their ids.
WITH given AS (
    SELECT a.*, row_number() OVER (PARTITION BY a.chat_id ORDER BY a.place) AS step
      FROM unnest(:message_ids::uuid[], :chat_ids::uuid[], :role_codes::text[], :reply_tos::uuid[], :contents::text[])
           WITH ORDINALITY AS a (message_id, chat_id, role_code, reply_to, content, place)
), counted AS (
    UPDATE chats SET last_message_no = last_message_no + g.steps, last_message_at = now()
      FROM (SELECT chat_id, max(step) AS steps FROM given GROUP BY chat_id) g
     WHERE chats.id = g.chat_id
    RETURNING chats.id, chats.last_message_no - g.steps AS base
)
INSERT INTO messages (id, chat_id, no, role_code, content, reply_to)
SELECT given.message_id, given.chat_id, counted.base + given.step, given.role_code, given.content, given.reply_to
  FROM given JOIN counted ON counted.id = given.chat_id
RETURNING id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
          edited_at, deleted_at, withdrawn_at, via;

-- name: lock_chats
-- Locks chats in the order of their ids, so that two batches cannot wait for each other.
SELECT id, deleted_at IS NOT NULL AS is_deleted FROM chats WHERE id = ANY(:chat_ids::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: message_of_member
-- A message, for those who are in its chat.
SELECT m.id, m.chat_id, m.no, m.author_id, m.role_code, m.content, m.mentions, m.reply_to, m.client_message_id,
       m.created_at, m.edited_at, m.deleted_at, m.withdrawn_at, m.via
  FROM messages m
  JOIN chats c ON c.id = m.chat_id AND c.deleted_at IS NULL
  JOIN chat_members me ON me.chat_id = m.chat_id AND me.user_id = :user_id
 WHERE m.id = :message_id;

-- name: messages_by_ids
-- Messages by their ids, whoever asks: the caller has checked the chats.
SELECT id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
       edited_at, deleted_at, withdrawn_at, via
  FROM messages WHERE id = ANY(:message_ids::uuid[]);

-- name: messages_before
-- A page of history, newest first. The chat's own numbers bound it, whatever the chat's length.
SELECT id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
       edited_at, deleted_at, withdrawn_at, via
  FROM messages
 WHERE chat_id = :chat_id AND no < :before_no::bigint
 ORDER BY no DESC
 LIMIT :count::int;

-- name: search_chat
-- Matches among the messages of a chat before a number, newest first, and the number of the oldest one that
-- was read: the fence comes before any text index, so what is read has a bound, in rows and in bytes, which are
-- known without reading a text. Whoever wants more looks on from there. Rejected drafts are not searched.
WITH seen AS (
    SELECT m.no, m.deleted_at, m.withdrawn_at,
           sum(octet_length(m.content)) OVER (ORDER BY m.no DESC) - octet_length(m.content) AS bytes_before
      FROM messages m
     WHERE m.chat_id = :chat_id AND m.no < :before_no::bigint AND m.no >= :before_no::bigint - :window::int
), edge AS (
    SELECT min(no) AS edge_no FROM seen WHERE bytes_before < :most_bytes::bigint
), found AS (
    SELECT m.id, m.chat_id, m.no, m.author_id, m.role_code, m.content, m.mentions, m.reply_to, m.client_message_id,
           m.created_at, m.edited_at, m.deleted_at, m.withdrawn_at, m.via
      FROM seen JOIN messages m ON m.chat_id = :chat_id AND m.no = seen.no
     WHERE seen.bytes_before < :most_bytes::bigint AND seen.deleted_at IS NULL AND seen.withdrawn_at IS NULL
       AND (to_tsvector('russian', left(m.content, 20000)) @@ websearch_to_tsquery('russian', :query)
            OR strpos(lower(m.content), lower(:query)) > 0)
     ORDER BY m.no DESC
     LIMIT :count::int
)
SELECT edge.edge_no, found.* FROM edge LEFT JOIN found ON true ORDER BY found.no DESC;

-- name: search_chats
-- The same among the messages of some chats that were said before a moment: of the organization's messages so
-- many are looked at, and of them those in these chats are read.
WITH seen AS (
    SELECT m.id, m.chat_id, m.created_at, m.deleted_at, m.withdrawn_at, octet_length(m.content) AS bytes
      FROM messages m
     WHERE :before_at::timestamptz IS NULL OR (m.created_at, m.id) < (:before_at::timestamptz, :before_id::uuid)
     ORDER BY m.created_at DESC, m.id DESC
     LIMIT :window::int
), mine AS (
    SELECT id, created_at, deleted_at, withdrawn_at,
           sum(bytes) OVER (ORDER BY created_at DESC, id DESC) - bytes AS bytes_before
      FROM seen WHERE chat_id = ANY(:chat_ids::uuid[])
), found AS (
    SELECT m.id, m.chat_id, m.no, m.author_id, m.role_code, m.content, m.mentions, m.reply_to, m.client_message_id,
           m.created_at, m.edited_at, m.deleted_at, m.withdrawn_at, m.via
      FROM mine JOIN messages m ON m.id = mine.id
     WHERE mine.bytes_before < :most_bytes::bigint AND mine.deleted_at IS NULL AND mine.withdrawn_at IS NULL
       AND (to_tsvector('russian', left(m.content, 20000)) @@ websearch_to_tsquery('russian', :query)
            OR strpos(lower(m.content), lower(:query)) > 0)
     ORDER BY m.created_at DESC, m.id DESC
     LIMIT :count::int
), cut AS (
    SELECT created_at, id FROM mine
     WHERE bytes_before < :most_bytes::bigint AND EXISTS (SELECT FROM mine WHERE bytes_before >= :most_bytes::bigint)
     ORDER BY created_at, id LIMIT 1
), last AS (
    SELECT created_at, id, (SELECT count(*) FROM seen) = :window::int AS is_full FROM seen ORDER BY created_at, id LIMIT 1
)
SELECT coalesce(cut.created_at, last.created_at) AS edge_at, coalesce(cut.id, last.id) AS edge_id,
       last.is_full OR cut.id IS NOT NULL AS has_more, found.*
  FROM last LEFT JOIN cut ON true LEFT JOIN found ON true
 ORDER BY found.created_at DESC, found.id DESC;

-- name: edit_message
-- Changes a message's text, for its author only, and not once it is deleted.
UPDATE messages SET content = :content, edited_at = now()
 WHERE id = :message_id AND author_id = :author_id AND deleted_at IS NULL
RETURNING id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
          edited_at, deleted_at, withdrawn_at, via;

-- name: delete_message
-- The text is gone at once; the place in the chat remains.
UPDATE messages SET content = '', mentions = '[]', deleted_at = now()
 WHERE id = :message_id AND author_id = :author_id AND deleted_at IS NULL
RETURNING id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
          edited_at, deleted_at, withdrawn_at, via;

-- name: settle_draft
-- What a signature does to a role's message: a new text, or its withdrawal, or nothing.
UPDATE messages
   SET content = coalesce(:content::text, content),
       edited_at = CASE WHEN :content::text IS NULL THEN edited_at ELSE now() END,
       withdrawn_at = CASE WHEN :withdraw::boolean THEN now() ELSE withdrawn_at END
 WHERE id = :message_id AND role_code IS NOT NULL
RETURNING id, chat_id, no, author_id, role_code, content, mentions, reply_to, client_message_id, created_at,
          edited_at, deleted_at, withdrawn_at, via;

-- name: mark_read
-- Moves the reader's mark forward, never back; returns the mark when it moved.
UPDATE chat_members SET last_read_no = least(:up_to_no::bigint, c.last_message_no)
  FROM chats c
 WHERE c.id = chat_members.chat_id AND chat_members.chat_id = :chat_id AND chat_members.user_id = :user_id
   AND chat_members.last_read_no < least(:up_to_no::bigint, c.last_message_no)
RETURNING chat_members.last_read_no;

-- name: conversations
-- For each question the lines that led to it, oldest first: neither deleted ones nor rejected drafts.
-- The limit changes nothing but the plan: a chat's own numbers are looked up, however fast the table grows.
SELECT q.id AS question_id, q.author_id AS asker_id, c.title AS chat_title, said.*
  FROM messages q
  JOIN chats c ON c.id = q.chat_id,
       LATERAL (SELECT m.no, m.author_id, m.role_code, m.content, m.created_at
                  FROM messages m
                 WHERE m.chat_id = q.chat_id AND m.no <= q.no AND m.no > q.no - :depth::int
                   AND m.deleted_at IS NULL AND m.withdrawn_at IS NULL
                 ORDER BY m.no DESC
                 LIMIT :depth::int) AS said
 WHERE q.id = ANY(:question_ids::uuid[]) AND q.author_id IS NOT NULL AND q.deleted_at IS NULL
 ORDER BY q.id, said.no;

-- name: search_messages
-- The best matches among the last lines of a chat; bounded, because the fence comes before any text index.
-- The bound is in bytes, which are known without reading a text: some two million letters of Russian.
WITH newest AS (
    SELECT m.no, m.author_id, m.role_code, m.content, m.created_at,
           sum(octet_length(m.content)) OVER (ORDER BY m.no DESC) AS bytes
      FROM messages m JOIN chats c ON c.id = m.chat_id
     WHERE m.chat_id = :chat_id AND m.no > c.last_message_no - 5000
       AND m.deleted_at IS NULL AND m.withdrawn_at IS NULL
)
SELECT no, author_id, role_code, content, created_at
  FROM newest
 WHERE bytes <= 4000000
   AND (to_tsvector('russian', left(content, 20000)) @@ websearch_to_tsquery('russian', :query)
        OR strpos(lower(content), lower(:query)) > 0)
 ORDER BY no DESC
 LIMIT :count::int;

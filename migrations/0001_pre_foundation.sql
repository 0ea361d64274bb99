-- The ground of everything: organizations, people, chats, runs, drafts, and the fence around each
-- organization. Runs on an empty database; nothing is locked.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rugpt_app') THEN
        CREATE ROLE rugpt_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rugpt_across') THEN
        CREATE ROLE rugpt_across NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
    END IF;
EXCEPTION WHEN unique_violation OR duplicate_object THEN
    NULL; -- Roles belong to the whole server: another database's migration made them just now.
END $$;

-- The application may become the cross-organization role, but has none of its rights until it does.
GRANT rugpt_across TO rugpt_app WITH INHERIT FALSE;
DO $$
BEGIN
    -- One login for everything is allowed; it drops to the application role when it connects.
    IF current_user NOT IN ('rugpt_app', 'postgres') THEN
        EXECUTE format('GRANT rugpt_app TO %I', current_user);
        EXECUTE format('GRANT rugpt_across TO %I WITH INHERIT FALSE', current_user);
    END IF;
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO rugpt_app, rugpt_across;
GRANT SELECT ON schema_migrations TO rugpt_app; -- It tells whether the schema is current.

-- An unset organization is NULL, and NULL equals nothing: whoever forgot to say sees no row.
CREATE FUNCTION current_org() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('app.org_id', true), '')::uuid;

-- ── organizations and people ────────────────────────────────────────────────────────────────────

CREATE TABLE organizations (
    id         uuid PRIMARY KEY DEFAULT current_org(),
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON organizations USING (id = current_org());
CREATE POLICY sign_in ON organizations FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE (name) ON organizations TO rugpt_app;
GRANT SELECT (id, slug) ON organizations TO rugpt_across;

CREATE TABLE event_counters (
    org_id  uuid PRIMARY KEY DEFAULT current_org() REFERENCES organizations (id),
    last_no bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10); -- One hot row, updated in place.
ALTER TABLE event_counters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON event_counters USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE ON event_counters TO rugpt_app;

CREATE TABLE events (
    org_id  uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    no      bigint NOT NULL,
    channel uuid NOT NULL,
    kind    text NOT NULL,
    data    jsonb NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, no)
);
CREATE INDEX events_at ON events USING brin (at);
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON events USING (org_id = current_org());
CREATE POLICY housekeeping ON events TO rugpt_across USING (true);
GRANT SELECT, INSERT ON events TO rugpt_app;
GRANT SELECT (org_id, no, at), DELETE ON events TO rugpt_across;

CREATE TABLE users (
    org_id               uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id                   uuid NOT NULL DEFAULT gen_random_uuid(),
    username             text NOT NULL CHECK (length(username) BETWEEN 2 AND 64),
    email                text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    display_name         text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 100),
    role                 text NOT NULL DEFAULT 'user' CHECK (role IN ('admin', 'user')),
    is_active            boolean NOT NULL DEFAULT true,
    locale               text NOT NULL DEFAULT 'ru' CHECK (locale IN ('ru', 'en')),
    timezone             text NOT NULL DEFAULT 'Europe/Moscow',
    password_hash        text NOT NULL,
    must_change_password boolean NOT NULL DEFAULT false,
    created_at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX users_username ON users (org_id, lower(username));
CREATE UNIQUE INDEX users_email ON users (org_id, lower(email));
CREATE INDEX users_sign_in_username ON users (lower(username));
CREATE INDEX users_sign_in_email ON users (lower(email));
ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON users USING (org_id = current_org());
CREATE POLICY sign_in ON users FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON users TO rugpt_app;
GRANT SELECT (org_id, id, username, email, password_hash, is_active) ON users TO rugpt_across;

CREATE TABLE sessions (
    org_id       uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id           uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    ended_reason text,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE INDEX sessions_of_user ON sessions (org_id, user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON sessions USING (org_id = current_org());
CREATE POLICY revocations ON sessions TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON sessions TO rugpt_app;
GRANT SELECT (org_id, id, ended_at, expires_at), DELETE ON sessions TO rugpt_across;

CREATE TABLE refresh_tokens (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    token_hash bytea NOT NULL, -- SHA-256 of 32 random bytes: unreadable at rest
    session_id uuid NOT NULL,
    issued_at  timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    PRIMARY KEY (org_id, token_hash),
    FOREIGN KEY (org_id, session_id) REFERENCES sessions (org_id, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (org_id, session_id);
CREATE UNIQUE INDEX refresh_tokens_hash ON refresh_tokens (token_hash);
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON refresh_tokens USING (org_id = current_org());
CREATE POLICY refresh ON refresh_tokens FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON refresh_tokens TO rugpt_app;
GRANT SELECT (org_id, token_hash, session_id) ON refresh_tokens TO rugpt_across;

CREATE TABLE audit_log (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id         bigint GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor_id   uuid, -- NULL: the engine itself
    action     text NOT NULL,
    subject_id uuid,
    data       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (org_id, id)
);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON audit_log USING (org_id = current_org());
GRANT SELECT, INSERT ON audit_log TO rugpt_app; -- Nobody rewrites it.

-- ── roles ───────────────────────────────────────────────────────────────────────────────────────

-- What a role file and its prompts said, by content hash; the same for all organizations.
CREATE TABLE role_versions (
    version       text PRIMARY KEY,
    role_code     text NOT NULL,
    definition    jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON role_versions TO rugpt_app;

CREATE TABLE role_settings (
    org_id      uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    role_code   text NOT NULL CHECK (length(role_code) BETWEEN 1 AND 64),
    enabled     boolean NOT NULL DEFAULT true,
    instruction text NOT NULL DEFAULT '' CHECK (length(instruction) <= 8000),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, role_code)
);
ALTER TABLE role_settings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON role_settings USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE ON role_settings TO rugpt_app;

-- The door to role_settings for statements of other rooms: which roles nobody may call here.
CREATE FUNCTION disabled_roles() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ARRAY(SELECT role_code FROM role_settings WHERE NOT enabled);

-- ── chats ───────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE chats (
    org_id          uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id              uuid NOT NULL DEFAULT gen_random_uuid(),
    title           text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    kind            text NOT NULL CHECK (kind IN ('group', 'direct')),
    role_codes      text[] NOT NULL DEFAULT '{}', -- empty: every role may be called
    created_by      uuid NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    deleted_at      timestamptz,
    last_message_no bigint NOT NULL DEFAULT 0,
    last_message_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, created_by) REFERENCES users (org_id, id)
) WITH (fillfactor = 70);
ALTER TABLE chats ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON chats USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE ON chats TO rugpt_app;

CREATE TABLE chat_members (
    org_id       uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    chat_id      uuid NOT NULL,
    user_id      uuid NOT NULL,
    joined_at    timestamptz NOT NULL DEFAULT now(),
    last_read_no bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, chat_id, user_id),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
) WITH (fillfactor = 70);
CREATE INDEX chat_members_of_user ON chat_members (org_id, user_id);
ALTER TABLE chat_members ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON chat_members USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE, DELETE ON chat_members TO rugpt_app;

CREATE TABLE messages (
    org_id            uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id                uuid NOT NULL DEFAULT gen_random_uuid(),
    chat_id           uuid NOT NULL,
    no                bigint NOT NULL, -- 1, 2, 3 … within the chat
    author_id         uuid, -- a person, or NULL when a role wrote it
    role_code         text,
    content           text NOT NULL CHECK (length(content) <= 400000),
    mentions          jsonb NOT NULL DEFAULT '[]',
    reply_to          uuid,
    client_message_id text CHECK (length(client_message_id) BETWEEN 1 AND 100),
    created_at        timestamptz NOT NULL DEFAULT now(),
    edited_at         timestamptz,
    deleted_at        timestamptz,
    withdrawn_at      timestamptz, -- a rejected draft: only its asker and approvers still read it
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    FOREIGN KEY (org_id, author_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, reply_to) REFERENCES messages (org_id, id),
    CHECK ((author_id IS NULL) = (role_code IS NOT NULL))
);
CREATE UNIQUE INDEX messages_no ON messages (org_id, chat_id, no);
CREATE UNIQUE INDEX messages_client_id ON messages (org_id, chat_id, author_id, client_message_id)
    WHERE client_message_id IS NOT NULL;
ALTER TABLE messages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON messages USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE ON messages TO rugpt_app;

-- ── runs ────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE runs (
    org_id              uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id                  uuid NOT NULL DEFAULT gen_random_uuid(),
    chat_id             uuid NOT NULL,
    message_id          uuid NOT NULL, -- the question
    answer_id           uuid NOT NULL DEFAULT gen_random_uuid(), -- the message it will become
    role_code           text NOT NULL,
    asker_id            uuid NOT NULL,
    position            bigint NOT NULL, -- its place among the runs of its role in its chat
    status              text NOT NULL DEFAULT 'queued'
                        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    fence               bigint NOT NULL DEFAULT 0, -- raised by each claim; only its holder may finish
    attempts            int NOT NULL DEFAULT 0,
    worker              text,
    lease_until         timestamptz,
    cancel_requested_at timestamptz,
    role_version        text REFERENCES role_versions (version),
    model               text,
    limit_hit           text,
    error_code          text,
    error_detail        text,
    queued_at           timestamptz NOT NULL DEFAULT now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, message_id, role_code),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    FOREIGN KEY (org_id, message_id) REFERENCES messages (org_id, id),
    FOREIGN KEY (org_id, asker_id) REFERENCES users (org_id, id)
) WITH (fillfactor = 70);
CREATE INDEX runs_queued ON runs (queued_at) WHERE status = 'queued';
CREATE INDEX runs_leased ON runs (lease_until) WHERE status = 'running';
CREATE INDEX runs_in_order ON runs (org_id, chat_id, role_code, position) WHERE status IN ('queued', 'running');
ALTER TABLE runs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON runs USING (org_id = current_org());
CREATE POLICY queue ON runs TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON runs TO rugpt_app;
GRANT SELECT (org_id, id, chat_id, message_id, answer_id, role_code, asker_id, position, status, fence, attempts,
              worker, lease_until, cancel_requested_at, queued_at, started_at) ON runs TO rugpt_across;
GRANT UPDATE (status, fence, attempts, worker, lease_until, started_at) ON runs TO rugpt_across;

-- A run's own events. One row holds several; id = fence << 20 | n, so a successor's sort above.
CREATE TABLE run_events (
    org_id   uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    run_id   uuid NOT NULL,
    first_id bigint NOT NULL,
    last_id  bigint NOT NULL,
    items    jsonb NOT NULL, -- [[id, kind, data], …]
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, run_id, first_id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
CREATE INDEX run_events_at ON run_events USING brin (at);
ALTER TABLE run_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON run_events USING (org_id = current_org());
CREATE POLICY housekeeping ON run_events TO rugpt_across USING (true);
GRANT SELECT, INSERT ON run_events TO rugpt_app;
GRANT SELECT (org_id, run_id, first_id, at), DELETE ON run_events TO rugpt_across;

CREATE TABLE tool_calls (
    org_id    uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    run_id    uuid NOT NULL,
    fence     bigint NOT NULL,
    place     int NOT NULL, -- the first, second, … of this attempt
    step      int NOT NULL,
    call_id   text NOT NULL,
    tool      text NOT NULL,
    arguments jsonb NOT NULL,
    outcome   text NOT NULL CHECK (outcome IN ('ok', 'refused', 'failed')),
    result    text NOT NULL,
    seconds   double precision NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, run_id, fence, place),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
ALTER TABLE tool_calls ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON tool_calls USING (org_id = current_org());
GRANT SELECT, INSERT ON tool_calls TO rugpt_app;

CREATE TABLE model_calls (
    org_id         uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id             uuid NOT NULL DEFAULT gen_random_uuid(),
    run_id         uuid NOT NULL,
    fence          bigint NOT NULL,
    step           int NOT NULL,
    user_id        uuid NOT NULL,
    role_code      text NOT NULL,
    provider       text NOT NULL,
    model          text NOT NULL,
    input_tokens   int NOT NULL,
    output_tokens  int NOT NULL,
    estimated      boolean NOT NULL,
    first_token_ms int,
    total_ms       int NOT NULL,
    at             timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE INDEX model_calls_of_run ON model_calls (org_id, run_id);
ALTER TABLE model_calls ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON model_calls USING (org_id = current_org());
GRANT SELECT, INSERT ON model_calls TO rugpt_app;

-- ── drafts and their signatures ─────────────────────────────────────────────────────────────────

CREATE TABLE drafts (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    message_id uuid NOT NULL,
    chat_id    uuid NOT NULL,
    run_id     uuid NOT NULL,
    role_code  text NOT NULL,
    asker_id   uuid NOT NULL,
    approvers  text[] NOT NULL, -- asker, members, admins, or usernames
    status     text NOT NULL DEFAULT 'draft'
               CHECK (status IN ('draft', 'approved', 'edited', 'rejected', 'expired', 'superseded')),
    opened_at  timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    decided_by uuid,
    comment    text CHECK (length(comment) <= 4000),
    original   text, -- what the role wrote, where a person changed it
    edited     text, -- what the person made of it
    PRIMARY KEY (org_id, message_id),
    FOREIGN KEY (org_id, message_id) REFERENCES messages (org_id, id),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
    FOREIGN KEY (org_id, asker_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, decided_by) REFERENCES users (org_id, id),
    CHECK ((status = 'draft') = (decided_at IS NULL))
);
CREATE INDEX drafts_pending ON drafts (org_id, opened_at DESC) WHERE status = 'draft';
ALTER TABLE drafts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON drafts USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE ON drafts TO rugpt_app;

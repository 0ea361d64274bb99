-- The calendar: what is planned, whom to tell, what happened each time, and which days are worked.
-- New tables; a nullable column is added to messages and one to drafts, which rewrites nothing.

ALTER TABLE messages ADD COLUMN via text CHECK (length(via) BETWEEN 1 AND 32); -- how it came; NULL: a person typed it
ALTER TABLE drafts ADD COLUMN expires_at timestamptz; -- NULL: it waits for ever
CREATE INDEX drafts_expiring ON drafts (expires_at) WHERE status = 'draft' AND expires_at IS NOT NULL;
CREATE POLICY expiry ON drafts FOR SELECT TO rugpt_across USING (true);
GRANT SELECT (org_id, message_id, status, expires_at) ON drafts TO rugpt_across;

CREATE TABLE calendar_events (
    org_id          uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id              uuid NOT NULL DEFAULT gen_random_uuid(),
    owner_id        uuid NOT NULL,
    title           text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    description     text NOT NULL DEFAULT '' CHECK (length(description) <= 8000),
    kind            text NOT NULL CHECK (kind IN ('one_time', 'recurring', 'interval')),
    starts_at       timestamptz NOT NULL,
    timezone        text NOT NULL CHECK (length(timezone) BETWEEN 1 AND 64),
    cron            text CHECK (length(cron) <= 200),
    rrule           text CHECK (length(rrule) <= 500),
    every_seconds   int CHECK (every_seconds >= 60),
    ends_at         timestamptz,
    count           int CHECK (count BETWEEN 1 AND 1000),
    exdates         timestamp[] NOT NULL DEFAULT '{}', -- wall-clock times at which it does not come
    working_days    text NOT NULL DEFAULT 'any' CHECK (working_days IN ('any', 'next', 'previous', 'skip')),
    country         text NOT NULL DEFAULT 'RU' CHECK (length(country) = 2),
    role_code       text CHECK (length(role_code) BETWEEN 1 AND 64),
    instruction     text NOT NULL DEFAULT '' CHECK (length(instruction) <= 8000),
    chat_id         uuid,
    misfire         text NOT NULL DEFAULT 'run_once' CHECK (misfire IN ('run_once', 'run_all', 'skip')),
    grace_seconds   int NOT NULL DEFAULT 300 CHECK (grace_seconds BETWEEN 0 AND 604800),
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'ended', 'deleted')),
    paused_because  text,
    failures        int NOT NULL DEFAULT 0, -- failed firings in a row
    next_nominal    timestamptz, -- names the next occurrence
    next_at         timestamptz, -- when it fires
    version         int NOT NULL DEFAULT 1,
    uid             text NOT NULL CHECK (length(uid) BETWEEN 1 AND 400), -- how calendar programs know it
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, owner_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    CHECK (kind <> 'recurring' OR (cron IS NULL) <> (rrule IS NULL)),
    CHECK (kind <> 'interval' OR every_seconds IS NOT NULL),
    CHECK (role_code IS NULL OR chat_id IS NOT NULL),
    CHECK ((next_at IS NULL) = (next_nominal IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX calendar_events_due ON calendar_events (next_at) WHERE status = 'active';
CREATE INDEX calendar_events_of_owner ON calendar_events (org_id, owner_id);
CREATE INDEX calendar_events_of_chat ON calendar_events (org_id, chat_id);
CREATE UNIQUE INDEX calendar_events_uid ON calendar_events (org_id, owner_id, uid) WHERE status <> 'deleted';
ALTER TABLE calendar_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON calendar_events USING (org_id = current_org());
CREATE POLICY due ON calendar_events FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON calendar_events TO rugpt_app;
GRANT SELECT (org_id, id, status, next_at) ON calendar_events TO rugpt_across;

CREATE TABLE calendar_guests (
    org_id   uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    event_id uuid NOT NULL,
    user_id  uuid NOT NULL,
    PRIMARY KEY (org_id, event_id, user_id),
    FOREIGN KEY (org_id, event_id) REFERENCES calendar_events (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE INDEX calendar_guests_of_user ON calendar_guests (org_id, user_id);
ALTER TABLE calendar_guests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON calendar_guests USING (org_id = current_org());
GRANT SELECT, INSERT, DELETE ON calendar_guests TO rugpt_app;

CREATE TABLE calendar_firings (
    org_id       uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id           uuid NOT NULL DEFAULT gen_random_uuid(),
    event_id     uuid NOT NULL,
    occurrence   timestamptz NOT NULL, -- its name: one firing for each, whoever looks and however often
    due_at       timestamptz NOT NULL,
    fired_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    status       text NOT NULL CHECK (status IN ('running', 'waiting', 'done', 'failed', 'skipped', 'cancelled')),
    is_manual    boolean NOT NULL DEFAULT false,
    missed       int NOT NULL DEFAULT 0,
    attempts     int NOT NULL DEFAULT 1,
    retry_at     timestamptz, -- when its failed run is tried again
    message_id   uuid,
    run_id       uuid,
    answer_id    uuid,
    error_code   text,
    error_detail text,
    ended_at     timestamptz,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, event_id, occurrence),
    FOREIGN KEY (org_id, event_id) REFERENCES calendar_events (org_id, id),
    FOREIGN KEY (org_id, message_id) REFERENCES messages (org_id, id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
) WITH (fillfactor = 80);
CREATE INDEX calendar_firings_of_event ON calendar_firings (org_id, event_id, fired_at DESC);
CREATE INDEX calendar_firings_of_run ON calendar_firings (org_id, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX calendar_firings_retried ON calendar_firings (retry_at) WHERE retry_at IS NOT NULL;
ALTER TABLE calendar_firings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON calendar_firings USING (org_id = current_org());
CREATE POLICY due ON calendar_firings FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON calendar_firings TO rugpt_app;
GRANT SELECT (org_id, id, retry_at) ON calendar_firings TO rugpt_across;

-- What an organization says of single days, where a country's calendar says otherwise or nothing.
CREATE TABLE working_days (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    country    text NOT NULL CHECK (length(country) = 2),
    day        date NOT NULL,
    is_working boolean NOT NULL,
    PRIMARY KEY (org_id, country, day)
);
ALTER TABLE working_days ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON working_days USING (org_id = current_org());
GRANT SELECT, INSERT, UPDATE, DELETE ON working_days TO rugpt_app;

-- Secret addresses under which a calendar program reads a person's events.
CREATE TABLE calendar_feeds (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    user_id    uuid NOT NULL,
    token_hash bytea NOT NULL, -- SHA-256 of 32 random bytes: unreadable at rest
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, user_id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE UNIQUE INDEX calendar_feeds_token ON calendar_feeds (token_hash);
ALTER TABLE calendar_feeds ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON calendar_feeds USING (org_id = current_org());
CREATE POLICY subscription ON calendar_feeds FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON calendar_feeds TO rugpt_app;
GRANT SELECT (org_id, user_id, token_hash) ON calendar_feeds TO rugpt_across;

-- Who is told what, by which way, and what became of it. The tables are new: nothing is locked but, for the
-- moment in which they point at them, users, chats and messages against changes of their shape.

CREATE TABLE notification_channels (
    org_id           uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id          uuid NOT NULL,
    kind             text NOT NULL CHECK (kind IN ('in_app', 'email', 'telegram', 'webhook')),
    is_own           boolean NOT NULL DEFAULT false, -- the e-mail channel of the account, to whatever its address is
    address          text CHECK (length(address) BETWEEN 1 AND 2000), -- an address, a Telegram chat, a URL
    sealed_key       bytea, -- signs what a webhook gets; readable with the installation's secret only
    priority         int NOT NULL CHECK (priority BETWEEN 0 AND 100),
    patience_seconds int NOT NULL CHECK (patience_seconds BETWEEN 0 AND 86400),
    quiet_from       time,
    quiet_until      time,
    timezone         text NOT NULL,
    carries          text[] NOT NULL,
    verified_at      timestamptz,
    broken_at        timestamptz,
    broken_code      text,
    code_hash        bytea, -- SHA-256 of what proves that the address is theirs
    code_expires_at  timestamptz,
    code_tries       int NOT NULL DEFAULT 0,
    free_at          timestamptz NOT NULL DEFAULT now(), -- nothing goes there before: its pace, or its provider's wish
    created_at       timestamptz NOT NULL DEFAULT now(),
    deleted_at       timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id),
    CHECK ((quiet_from IS NULL) = (quiet_until IS NULL))
);
CREATE UNIQUE INDEX notification_channels_in_app ON notification_channels (org_id, user_id) WHERE kind = 'in_app';
CREATE UNIQUE INDEX notification_channels_own ON notification_channels (org_id, user_id) WHERE is_own;
CREATE UNIQUE INDEX notification_channels_address ON notification_channels (org_id, user_id, kind, lower(address))
    WHERE address IS NOT NULL;
-- A Telegram chat is one person's: what is said in it must belong to somebody.
CREATE UNIQUE INDEX notification_channels_telegram ON notification_channels (address) WHERE kind = 'telegram';
CREATE UNIQUE INDEX notification_channels_code ON notification_channels (code_hash) WHERE code_hash IS NOT NULL;
ALTER TABLE notification_channels ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON notification_channels USING (org_id = current_org());
CREATE POLICY delivery ON notification_channels FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON notification_channels TO rugpt_app;
GRANT SELECT (org_id, id, user_id, kind, address, code_hash, free_at) ON notification_channels TO rugpt_across;

CREATE TABLE notifications (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id         uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id    uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('mention', 'draft', 'run_failed', 'event', 'firing_failed')),
    key        text NOT NULL CHECK (length(key) <= 200), -- what happened: nobody is told of it twice
    chat_id    uuid,
    message_id uuid,
    message_no bigint,
    subject_id uuid, -- the run or the event
    facts      jsonb NOT NULL DEFAULT '{}', -- what no other row tells; texts of messages stay with the messages
    created_at timestamptz NOT NULL DEFAULT now(),
    read_at    timestamptz,
    told       int, -- the priority of the channels that told it last
    next_at    timestamptz DEFAULT now(), -- when to look which channels come next; NULL: never again
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, user_id, key),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, chat_id) REFERENCES chats (org_id, id),
    FOREIGN KEY (org_id, message_id) REFERENCES messages (org_id, id)
) WITH (fillfactor = 80);
CREATE INDEX notifications_due ON notifications (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notifications_of_user ON notifications (org_id, user_id, created_at DESC, id DESC);
CREATE INDEX notifications_unread ON notifications (org_id, user_id, created_at DESC, id DESC) WHERE read_at IS NULL;
CREATE INDEX notifications_of_message ON notifications (org_id, message_id) WHERE read_at IS NULL;
ALTER TABLE notifications ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON notifications USING (org_id = current_org());
CREATE POLICY delivery ON notifications FOR SELECT TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON notifications TO rugpt_app;
GRANT SELECT (org_id, id, next_at) ON notifications TO rugpt_across;

-- The outbox: one row is one letter, message or call that has to reach one channel.
CREATE TABLE deliveries (
    org_id      uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    channel_id  uuid NOT NULL,
    user_id     uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('email', 'telegram', 'webhook')), -- the channel's
    purpose     text NOT NULL CHECK (purpose IN ('note', 'digest', 'code', 'test')),
    sealed      bytea, -- a code that has to be told
    status      text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sending', 'sent', 'dead', 'dropped')),
    fence       bigint NOT NULL DEFAULT 0, -- raised by each claim; only its holder may say how it ended
    attempts    int NOT NULL DEFAULT 0,
    unknowns    int NOT NULL DEFAULT 0, -- attempts whose acknowledgement was lost: it may have arrived
    parts_sent  int NOT NULL DEFAULT 0, -- of a long message
    provider_id text, -- what the other side calls it
    lease_until timestamptz,
    started_at  timestamptz,
    due_at      timestamptz NOT NULL DEFAULT now(),
    failure     text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, channel_id) REFERENCES notification_channels (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
) WITH (fillfactor = 70);
CREATE INDEX deliveries_due ON deliveries (kind, due_at) WHERE status = 'queued';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE status = 'sending';
CREATE INDEX deliveries_of_channel ON deliveries (org_id, channel_id, created_at DESC);
CREATE INDEX deliveries_dead ON deliveries (org_id, finished_at DESC) WHERE status = 'dead';
CREATE UNIQUE INDEX deliveries_digest ON deliveries (org_id, channel_id) WHERE status = 'queued' AND purpose = 'digest';
ALTER TABLE deliveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON deliveries USING (org_id = current_org());
CREATE POLICY queue ON deliveries TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE ON deliveries TO rugpt_app;
GRANT SELECT (org_id, id, channel_id, kind, purpose, status, fence, attempts, unknowns, parts_sent, lease_until, started_at, due_at,
              created_at)
    ON deliveries TO rugpt_across;
GRANT UPDATE (status, fence, attempts, lease_until, started_at) ON deliveries TO rugpt_across;

-- What a delivery tells of. A notification reaches a channel once.
CREATE TABLE delivery_items (
    org_id          uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    delivery_id     uuid NOT NULL,
    notification_id uuid NOT NULL,
    channel_id      uuid NOT NULL,
    PRIMARY KEY (org_id, delivery_id, notification_id),
    UNIQUE (org_id, notification_id, channel_id),
    FOREIGN KEY (org_id, delivery_id) REFERENCES deliveries (org_id, id),
    FOREIGN KEY (org_id, notification_id) REFERENCES notifications (org_id, id),
    FOREIGN KEY (org_id, channel_id) REFERENCES notification_channels (org_id, id)
);
ALTER TABLE delivery_items ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON delivery_items USING (org_id = current_org());
GRANT SELECT, INSERT ON delivery_items TO rugpt_app;

CREATE TABLE delivery_attempts (
    org_id      uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    delivery_id uuid NOT NULL,
    fence       bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz NOT NULL DEFAULT now(),
    outcome     text NOT NULL CHECK (outcome IN ('sent', 'delayed', 'refused', 'unknown', 'dropped')),
    detail      text CHECK (length(detail) <= 500),
    PRIMARY KEY (org_id, delivery_id, fence),
    FOREIGN KEY (org_id, delivery_id) REFERENCES deliveries (org_id, id)
);
CREATE INDEX delivery_attempts_at ON delivery_attempts (org_id, ended_at DESC, delivery_id DESC, fence DESC);
ALTER TABLE delivery_attempts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON delivery_attempts USING (org_id = current_org());
GRANT SELECT, INSERT ON delivery_attempts TO rugpt_app; -- Nobody rewrites it.

-- The bot's questions "what should it say instead?", whose replies are the corrected texts of drafts.
CREATE TABLE telegram_questions (
    org_id     uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    channel_id uuid NOT NULL,
    message_no bigint NOT NULL, -- the question's number in its Telegram chat
    draft_id   uuid NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, channel_id, message_no),
    FOREIGN KEY (org_id, channel_id) REFERENCES notification_channels (org_id, id),
    FOREIGN KEY (org_id, draft_id) REFERENCES drafts (org_id, message_id)
);
ALTER TABLE telegram_questions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON telegram_questions USING (org_id = current_org());
GRANT SELECT, INSERT ON telegram_questions TO rugpt_app;

-- What Telegram told the bot, stored before it is acknowledged. Whose it is, is known once it is worked on;
-- after that only its number stays, so that a repeated one is recognized.
CREATE TABLE telegram_updates (
    bot_id      bigint NOT NULL,
    update_id   bigint NOT NULL,
    content     jsonb,
    received_at timestamptz NOT NULL DEFAULT now(),
    tries       int NOT NULL DEFAULT 0,
    done_at     timestamptz,
    PRIMARY KEY (bot_id, update_id)
);
CREATE INDEX telegram_updates_waiting ON telegram_updates (bot_id, update_id) WHERE done_at IS NULL;
CREATE INDEX telegram_updates_done ON telegram_updates (done_at) WHERE done_at IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON telegram_updates TO rugpt_across;

-- What only one process may do at a time.
CREATE TABLE leases (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON leases TO rugpt_across;

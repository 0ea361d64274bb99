-- Where a council keeps its finished steps, so that whoever takes it over asks nobody twice. The tables
-- are those that langgraph-checkpoint-postgres 3.2 reads and writes, with our fence around them; its own
-- setup() is never called, and would find nothing to do. They are new: nothing is locked.
--
-- The saver knows neither organizations nor runs. org_id is filled in by the fence; run_id is read off the
-- thread's name, "<run>/<role's version>", and ties each row to a run of the same organization. The saver's
-- ON CONFLICT needs a unique index over exactly its own columns, beside a primary key that leads with org_id
-- like every other; its own indexes on thread_id would repeat the beginning of those.

CREATE TABLE checkpoint_migrations (
    v int PRIMARY KEY
);
INSERT INTO checkpoint_migrations SELECT generate_series(0, 9);

CREATE TABLE checkpoints (
    org_id               uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    run_id               uuid NOT NULL GENERATED ALWAYS AS (split_part(thread_id, '/', 1)::uuid) STORED,
    at                   timestamptz NOT NULL DEFAULT now(),
    thread_id            text NOT NULL,
    checkpoint_ns        text NOT NULL DEFAULT '',
    checkpoint_id        text NOT NULL,
    parent_checkpoint_id text,
    type                 text,
    checkpoint           jsonb NOT NULL,
    metadata             jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, checkpoint_id),
    UNIQUE (thread_id, checkpoint_ns, checkpoint_id),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON checkpoints USING (org_id = current_org());
CREATE POLICY housekeeping ON checkpoints TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO rugpt_app;
GRANT SELECT (org_id, run_id, at), DELETE ON checkpoints TO rugpt_across;

CREATE TABLE checkpoint_blobs (
    org_id        uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    run_id        uuid NOT NULL GENERATED ALWAYS AS (split_part(thread_id, '/', 1)::uuid) STORED,
    at            timestamptz NOT NULL DEFAULT now(),
    thread_id     text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    channel       text NOT NULL,
    version       text NOT NULL,
    type          text NOT NULL,
    blob          bytea,
    PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, channel, version),
    UNIQUE (thread_id, checkpoint_ns, channel, version),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
ALTER TABLE checkpoint_blobs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON checkpoint_blobs USING (org_id = current_org());
CREATE POLICY housekeeping ON checkpoint_blobs TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoint_blobs TO rugpt_app;
GRANT SELECT (org_id, run_id, at), DELETE ON checkpoint_blobs TO rugpt_across;

CREATE TABLE checkpoint_writes (
    org_id        uuid NOT NULL DEFAULT current_org() REFERENCES organizations (id),
    run_id        uuid NOT NULL GENERATED ALWAYS AS (split_part(thread_id, '/', 1)::uuid) STORED,
    at            timestamptz NOT NULL DEFAULT now(),
    thread_id     text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    checkpoint_id text NOT NULL,
    task_id       text NOT NULL,
    task_path     text NOT NULL DEFAULT '',
    idx           int NOT NULL,
    channel       text NOT NULL,
    type          text,
    blob          bytea NOT NULL,
    PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx),
    UNIQUE (thread_id, checkpoint_ns, checkpoint_id, task_id, idx),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
ALTER TABLE checkpoint_writes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_organization ON checkpoint_writes USING (org_id = current_org());
CREATE POLICY housekeeping ON checkpoint_writes TO rugpt_across USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoint_writes TO rugpt_app;
GRANT SELECT (org_id, run_id, at), DELETE ON checkpoint_writes TO rugpt_across;

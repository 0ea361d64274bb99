-- Written by scripts/docs: what all migrations make together. Read it; change it by a new migration.

CREATE FUNCTION public.announce(lines jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
    first_no bigint;
BEGIN
    UPDATE event_counters SET last_no = last_no + jsonb_array_length(lines)
     WHERE org_id = current_org()
    RETURNING last_no - jsonb_array_length(lines) + 1 INTO STRICT first_no;
    INSERT INTO events (org_id, no, channel, kind, data)
    SELECT current_org(), first_no + line.place - 1, (line.said ->> 0)::uuid, line.said ->> 1, line.said -> 2
      FROM jsonb_array_elements(lines) WITH ORDINALITY AS line (said, place);
    PERFORM set_config('app.first_no', first_no::text, false);
END $$;

CREATE FUNCTION public.current_org() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN (NULLIF(current_setting('app.org_id'::text, true), ''::text))::uuid;

CREATE TABLE public.chats (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    title text NOT NULL,
    kind text NOT NULL,
    role_codes text[] DEFAULT '{}'::text[] NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    last_message_no bigint DEFAULT 0 NOT NULL,
    last_message_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT chats_kind_check CHECK ((kind = ANY (ARRAY['group'::text, 'direct'::text]))),
    CONSTRAINT chats_title_check CHECK (((length(title) >= 1) AND (length(title) <= 200)))
)
WITH (fillfactor='70');

ALTER TABLE ONLY public.chats FORCE ROW LEVEL SECURITY;

CREATE FUNCTION public.chat_exists(chat uuid) RETURNS boolean
    LANGUAGE sql STABLE COST 1000 PARALLEL SAFE
    RETURN (EXISTS (SELECT FROM public.chats WHERE ((chats.id = chat_exists.chat) AND (chats.deleted_at IS NULL))));

CREATE TABLE public.role_settings (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    role_code text NOT NULL,
    enabled boolean DEFAULT true NOT NULL,
    instruction text DEFAULT ''::text NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT role_settings_instruction_check CHECK ((length(instruction) <= 8000)),
    CONSTRAINT role_settings_role_code_check CHECK (((length(role_code) >= 1) AND (length(role_code) <= 64)))
);

ALTER TABLE ONLY public.role_settings FORCE ROW LEVEL SECURITY;

CREATE FUNCTION public.disabled_roles() RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ARRAY(SELECT role_settings.role_code FROM public.role_settings WHERE (NOT role_settings.enabled));

CREATE TABLE public.sessions (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    ended_reason text
);

ALTER TABLE ONLY public.sessions FORCE ROW LEVEL SECURITY;

CREATE FUNCTION public.session_is_live(session uuid) RETURNS boolean
    LANGUAGE sql STABLE COST 1000 PARALLEL SAFE
    RETURN (EXISTS (SELECT FROM public.sessions WHERE ((sessions.id = session_is_live.session) AND (sessions.ended_at IS NULL) AND (sessions.expires_at > now()))));

CREATE TABLE public.audit_log (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    subject_id uuid,
    data jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY public.audit_log FORCE ROW LEVEL SECURITY;

ALTER TABLE public.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.calendar_events (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    owner_id uuid NOT NULL,
    title text NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    kind text NOT NULL,
    starts_at timestamp with time zone NOT NULL,
    timezone text NOT NULL,
    cron text,
    rrule text,
    every_seconds integer,
    ends_at timestamp with time zone,
    count integer,
    exdates timestamp without time zone[] DEFAULT '{}'::timestamp without time zone[] NOT NULL,
    working_days text DEFAULT 'any'::text NOT NULL,
    country text DEFAULT 'RU'::text NOT NULL,
    role_code text,
    instruction text DEFAULT ''::text NOT NULL,
    chat_id uuid,
    misfire text DEFAULT 'run_once'::text NOT NULL,
    grace_seconds integer DEFAULT 300 NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    paused_because text,
    failures integer DEFAULT 0 NOT NULL,
    next_nominal timestamp with time zone,
    next_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    uid text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT calendar_events_check CHECK (((kind <> 'recurring'::text) OR ((cron IS NULL) <> (rrule IS NULL)))),
    CONSTRAINT calendar_events_check1 CHECK (((kind <> 'interval'::text) OR (every_seconds IS NOT NULL))),
    CONSTRAINT calendar_events_check2 CHECK (((role_code IS NULL) OR (chat_id IS NOT NULL))),
    CONSTRAINT calendar_events_check3 CHECK (((next_at IS NULL) = (next_nominal IS NULL))),
    CONSTRAINT calendar_events_count_check CHECK (((count >= 1) AND (count <= 1000))),
    CONSTRAINT calendar_events_country_check CHECK ((length(country) = 2)),
    CONSTRAINT calendar_events_cron_check CHECK ((length(cron) <= 200)),
    CONSTRAINT calendar_events_description_check CHECK ((length(description) <= 8000)),
    CONSTRAINT calendar_events_every_seconds_check CHECK ((every_seconds >= 60)),
    CONSTRAINT calendar_events_grace_seconds_check CHECK (((grace_seconds >= 0) AND (grace_seconds <= 604800))),
    CONSTRAINT calendar_events_instruction_check CHECK ((length(instruction) <= 8000)),
    CONSTRAINT calendar_events_kind_check CHECK ((kind = ANY (ARRAY['one_time'::text, 'recurring'::text, 'interval'::text]))),
    CONSTRAINT calendar_events_misfire_check CHECK ((misfire = ANY (ARRAY['run_once'::text, 'run_all'::text, 'skip'::text]))),
    CONSTRAINT calendar_events_role_code_check CHECK (((length(role_code) >= 1) AND (length(role_code) <= 64))),
    CONSTRAINT calendar_events_rrule_check CHECK ((length(rrule) <= 500)),
    CONSTRAINT calendar_events_status_check CHECK ((status = ANY (ARRAY['active'::text, 'paused'::text, 'ended'::text, 'deleted'::text]))),
    CONSTRAINT calendar_events_timezone_check CHECK (((length(timezone) >= 1) AND (length(timezone) <= 64))),
    CONSTRAINT calendar_events_title_check CHECK (((length(title) >= 1) AND (length(title) <= 200))),
    CONSTRAINT calendar_events_uid_check CHECK (((length(uid) >= 1) AND (length(uid) <= 400))),
    CONSTRAINT calendar_events_working_days_check CHECK ((working_days = ANY (ARRAY['any'::text, 'next'::text, 'previous'::text, 'skip'::text])))
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.calendar_events FORCE ROW LEVEL SECURITY;

CREATE TABLE public.calendar_feeds (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    user_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.calendar_feeds FORCE ROW LEVEL SECURITY;

CREATE TABLE public.calendar_firings (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    event_id uuid NOT NULL,
    occurrence timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    fired_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status text NOT NULL,
    is_manual boolean DEFAULT false NOT NULL,
    missed integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 1 NOT NULL,
    retry_at timestamp with time zone,
    message_id uuid,
    run_id uuid,
    answer_id uuid,
    error_code text,
    error_detail text,
    ended_at timestamp with time zone,
    CONSTRAINT calendar_firings_status_check CHECK ((status = ANY (ARRAY['running'::text, 'waiting'::text, 'done'::text, 'failed'::text, 'skipped'::text, 'cancelled'::text])))
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.calendar_firings FORCE ROW LEVEL SECURITY;

CREATE TABLE public.calendar_guests (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    event_id uuid NOT NULL,
    user_id uuid NOT NULL
);

ALTER TABLE ONLY public.calendar_guests FORCE ROW LEVEL SECURITY;

CREATE TABLE public.chat_members (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    chat_id uuid NOT NULL,
    user_id uuid NOT NULL,
    joined_at timestamp with time zone DEFAULT now() NOT NULL,
    last_read_no bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE ONLY public.chat_members FORCE ROW LEVEL SECURITY;

CREATE TABLE public.checkpoint_blobs (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    run_id uuid GENERATED ALWAYS AS ((split_part(thread_id, '/'::text, 1))::uuid) STORED NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    channel text NOT NULL,
    version text NOT NULL,
    type text NOT NULL,
    blob bytea
);

ALTER TABLE ONLY public.checkpoint_blobs FORCE ROW LEVEL SECURITY;

CREATE TABLE public.checkpoint_migrations (
    v integer NOT NULL
);

CREATE TABLE public.checkpoint_writes (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    run_id uuid GENERATED ALWAYS AS ((split_part(thread_id, '/'::text, 1))::uuid) STORED NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    checkpoint_id text NOT NULL,
    task_id text NOT NULL,
    task_path text DEFAULT ''::text NOT NULL,
    idx integer NOT NULL,
    channel text NOT NULL,
    type text,
    blob bytea NOT NULL
);

ALTER TABLE ONLY public.checkpoint_writes FORCE ROW LEVEL SECURITY;

CREATE TABLE public.checkpoints (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    run_id uuid GENERATED ALWAYS AS ((split_part(thread_id, '/'::text, 1))::uuid) STORED NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    thread_id text NOT NULL,
    checkpoint_ns text DEFAULT ''::text NOT NULL,
    checkpoint_id text NOT NULL,
    parent_checkpoint_id text,
    type text,
    checkpoint jsonb NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY public.checkpoints FORCE ROW LEVEL SECURITY;

CREATE TABLE public.deliveries (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    channel_id uuid NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    purpose text NOT NULL,
    sealed bytea,
    status text DEFAULT 'queued'::text NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    unknowns integer DEFAULT 0 NOT NULL,
    parts_sent integer DEFAULT 0 NOT NULL,
    provider_id text,
    lease_until timestamp with time zone,
    started_at timestamp with time zone,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    failure text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT deliveries_kind_check CHECK ((kind = ANY (ARRAY['email'::text, 'telegram'::text, 'webhook'::text, 'web_push'::text]))),
    CONSTRAINT deliveries_purpose_check CHECK ((purpose = ANY (ARRAY['note'::text, 'digest'::text, 'code'::text, 'test'::text]))),
    CONSTRAINT deliveries_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'sending'::text, 'sent'::text, 'dead'::text, 'dropped'::text])))
)
WITH (fillfactor='70');

ALTER TABLE ONLY public.deliveries FORCE ROW LEVEL SECURITY;

CREATE TABLE public.delivery_attempts (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    delivery_id uuid NOT NULL,
    fence bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone DEFAULT now() NOT NULL,
    outcome text NOT NULL,
    detail text,
    CONSTRAINT delivery_attempts_detail_check CHECK ((length(detail) <= 500)),
    CONSTRAINT delivery_attempts_outcome_check CHECK ((outcome = ANY (ARRAY['sent'::text, 'delayed'::text, 'refused'::text, 'unknown'::text, 'dropped'::text])))
);

ALTER TABLE ONLY public.delivery_attempts FORCE ROW LEVEL SECURITY;

CREATE TABLE public.delivery_items (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    delivery_id uuid NOT NULL,
    notification_id uuid NOT NULL,
    channel_id uuid NOT NULL
);

ALTER TABLE ONLY public.delivery_items FORCE ROW LEVEL SECURITY;

CREATE TABLE public.drafts (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    message_id uuid NOT NULL,
    chat_id uuid NOT NULL,
    run_id uuid NOT NULL,
    role_code text NOT NULL,
    asker_id uuid NOT NULL,
    approvers text[] NOT NULL,
    status text DEFAULT 'draft'::text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    decided_at timestamp with time zone,
    decided_by uuid,
    comment text,
    original text,
    edited text,
    expires_at timestamp with time zone,
    CONSTRAINT drafts_check CHECK (((status = 'draft'::text) = (decided_at IS NULL))),
    CONSTRAINT drafts_comment_check CHECK ((length(comment) <= 4000)),
    CONSTRAINT drafts_status_check CHECK ((status = ANY (ARRAY['draft'::text, 'approved'::text, 'edited'::text, 'rejected'::text, 'expired'::text, 'superseded'::text])))
);

ALTER TABLE ONLY public.drafts FORCE ROW LEVEL SECURITY;

CREATE TABLE public.event_counters (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    last_no bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='10');

ALTER TABLE ONLY public.event_counters FORCE ROW LEVEL SECURITY;

CREATE TABLE public.events (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    no bigint NOT NULL,
    channel uuid NOT NULL,
    kind text NOT NULL,
    data jsonb NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.events FORCE ROW LEVEL SECURITY;

CREATE TABLE public.leases (
    name text NOT NULL,
    holder text NOT NULL,
    until timestamp with time zone NOT NULL
);

CREATE TABLE public.messages (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    chat_id uuid NOT NULL,
    no bigint NOT NULL,
    author_id uuid,
    role_code text,
    content text NOT NULL,
    mentions jsonb DEFAULT '[]'::jsonb NOT NULL,
    reply_to uuid,
    client_message_id text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    edited_at timestamp with time zone,
    deleted_at timestamp with time zone,
    withdrawn_at timestamp with time zone,
    via text,
    CONSTRAINT messages_check CHECK (((author_id IS NULL) = (role_code IS NOT NULL))),
    CONSTRAINT messages_client_message_id_check CHECK (((length(client_message_id) >= 1) AND (length(client_message_id) <= 100))),
    CONSTRAINT messages_content_check CHECK ((length(content) <= 400000)),
    CONSTRAINT messages_via_check CHECK (((length(via) >= 1) AND (length(via) <= 32)))
);

ALTER TABLE ONLY public.messages FORCE ROW LEVEL SECURITY;

CREATE TABLE public.model_calls (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    run_id uuid NOT NULL,
    fence bigint NOT NULL,
    step integer NOT NULL,
    user_id uuid NOT NULL,
    role_code text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    estimated boolean NOT NULL,
    first_token_ms integer,
    total_ms integer NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.model_calls FORCE ROW LEVEL SECURITY;

CREATE TABLE public.notification_channels (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    is_own boolean DEFAULT false NOT NULL,
    address text,
    sealed_key bytea,
    priority integer NOT NULL,
    patience_seconds integer NOT NULL,
    quiet_from time without time zone,
    quiet_until time without time zone,
    timezone text NOT NULL,
    carries text[] NOT NULL,
    verified_at timestamp with time zone,
    broken_at timestamp with time zone,
    broken_code text,
    code_hash bytea,
    code_expires_at timestamp with time zone,
    code_tries integer DEFAULT 0 NOT NULL,
    free_at timestamp with time zone DEFAULT now() NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    session_id uuid,
    CONSTRAINT notification_channels_address_check CHECK (((length(address) >= 1) AND (length(address) <= 2000))),
    CONSTRAINT notification_channels_check CHECK (((quiet_from IS NULL) = (quiet_until IS NULL))),
    CONSTRAINT notification_channels_kind_check CHECK ((kind = ANY (ARRAY['in_app'::text, 'email'::text, 'telegram'::text, 'webhook'::text, 'web_push'::text]))),
    CONSTRAINT notification_channels_patience_seconds_check CHECK (((patience_seconds >= 0) AND (patience_seconds <= 86400))),
    CONSTRAINT notification_channels_priority_check CHECK (((priority >= 0) AND (priority <= 100)))
);

ALTER TABLE ONLY public.notification_channels FORCE ROW LEVEL SECURITY;

CREATE TABLE public.notifications (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    chat_id uuid,
    message_id uuid,
    message_no bigint,
    subject_id uuid,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    read_at timestamp with time zone,
    told integer,
    next_at timestamp with time zone DEFAULT now(),
    CONSTRAINT notifications_key_check CHECK ((length(key) <= 200)),
    CONSTRAINT notifications_kind_check CHECK ((kind = ANY (ARRAY['mention'::text, 'draft'::text, 'run_failed'::text, 'event'::text, 'firing_failed'::text])))
)
WITH (fillfactor='80');

ALTER TABLE ONLY public.notifications FORCE ROW LEVEL SECURITY;

CREATE TABLE public.organizations (
    id uuid DEFAULT public.current_org() NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT organizations_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT organizations_slug_check CHECK ((slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'::text))
);

ALTER TABLE ONLY public.organizations FORCE ROW LEVEL SECURITY;

CREATE TABLE public.refresh_tokens (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    token_hash bytea NOT NULL,
    session_id uuid NOT NULL,
    issued_at timestamp with time zone DEFAULT now() NOT NULL,
    used_at timestamp with time zone
);

ALTER TABLE ONLY public.refresh_tokens FORCE ROW LEVEL SECURITY;

CREATE TABLE public.role_versions (
    version text NOT NULL,
    role_code text NOT NULL,
    definition jsonb NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.run_events (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    run_id uuid NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    items jsonb NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.run_events FORCE ROW LEVEL SECURITY;

CREATE TABLE public.runs (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    chat_id uuid NOT NULL,
    message_id uuid NOT NULL,
    answer_id uuid DEFAULT gen_random_uuid() NOT NULL,
    role_code text NOT NULL,
    asker_id uuid NOT NULL,
    "position" bigint NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    fence bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    worker text,
    lease_until timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    role_version text,
    model text,
    limit_hit text,
    error_code text,
    error_detail text,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'completed'::text, 'failed'::text, 'cancelled'::text])))
)
WITH (fillfactor='70');

ALTER TABLE ONLY public.runs FORCE ROW LEVEL SECURITY;

CREATE TABLE public.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.telegram_questions (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    channel_id uuid NOT NULL,
    message_no bigint NOT NULL,
    draft_id uuid NOT NULL,
    asked_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.telegram_questions FORCE ROW LEVEL SECURITY;

CREATE TABLE public.telegram_updates (
    bot_id bigint NOT NULL,
    update_id bigint NOT NULL,
    content jsonb,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    done_at timestamp with time zone
);

CREATE TABLE public.tool_calls (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    run_id uuid NOT NULL,
    fence bigint NOT NULL,
    place integer NOT NULL,
    step integer NOT NULL,
    call_id text NOT NULL,
    tool text NOT NULL,
    arguments jsonb NOT NULL,
    outcome text NOT NULL,
    result text NOT NULL,
    seconds double precision NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT tool_calls_outcome_check CHECK ((outcome = ANY (ARRAY['ok'::text, 'refused'::text, 'failed'::text])))
);

ALTER TABLE ONLY public.tool_calls FORCE ROW LEVEL SECURITY;

CREATE TABLE public.users (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    username text NOT NULL,
    email text NOT NULL,
    display_name text NOT NULL,
    role text DEFAULT 'user'::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    locale text DEFAULT 'ru'::text NOT NULL,
    timezone text DEFAULT 'Europe/Moscow'::text NOT NULL,
    password_hash text NOT NULL,
    must_change_password boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_display_name_check CHECK (((length(display_name) >= 1) AND (length(display_name) <= 100))),
    CONSTRAINT users_email_check CHECK (((length(email) >= 3) AND (length(email) <= 254))),
    CONSTRAINT users_locale_check CHECK ((locale = ANY (ARRAY['ru'::text, 'en'::text]))),
    CONSTRAINT users_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'user'::text]))),
    CONSTRAINT users_username_check CHECK (((length(username) >= 2) AND (length(username) <= 64)))
);

ALTER TABLE ONLY public.users FORCE ROW LEVEL SECURITY;

CREATE TABLE public.working_days (
    org_id uuid DEFAULT public.current_org() NOT NULL,
    country text NOT NULL,
    day date NOT NULL,
    is_working boolean NOT NULL,
    CONSTRAINT working_days_country_check CHECK ((length(country) = 2))
);

ALTER TABLE ONLY public.working_days FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.calendar_events
    ADD CONSTRAINT calendar_events_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_pkey PRIMARY KEY (org_id, user_id);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_org_id_event_id_occurrence_key UNIQUE (org_id, event_id, occurrence);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.calendar_guests
    ADD CONSTRAINT calendar_guests_pkey PRIMARY KEY (org_id, event_id, user_id);

ALTER TABLE ONLY public.chat_members
    ADD CONSTRAINT chat_members_pkey PRIMARY KEY (org_id, chat_id, user_id);

ALTER TABLE ONLY public.chats
    ADD CONSTRAINT chats_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.checkpoint_blobs
    ADD CONSTRAINT checkpoint_blobs_pkey PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, channel, version);

ALTER TABLE ONLY public.checkpoint_blobs
    ADD CONSTRAINT checkpoint_blobs_thread_id_checkpoint_ns_channel_version_key UNIQUE (thread_id, checkpoint_ns, channel, version);

ALTER TABLE ONLY public.checkpoint_migrations
    ADD CONSTRAINT checkpoint_migrations_pkey PRIMARY KEY (v);

ALTER TABLE ONLY public.checkpoint_writes
    ADD CONSTRAINT checkpoint_writes_pkey PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx);

ALTER TABLE ONLY public.checkpoint_writes
    ADD CONSTRAINT checkpoint_writes_thread_id_checkpoint_ns_checkpoint_id_tas_key UNIQUE (thread_id, checkpoint_ns, checkpoint_id, task_id, idx);

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_pkey PRIMARY KEY (org_id, run_id, thread_id, checkpoint_ns, checkpoint_id);

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_thread_id_checkpoint_ns_checkpoint_id_key UNIQUE (thread_id, checkpoint_ns, checkpoint_id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.delivery_attempts
    ADD CONSTRAINT delivery_attempts_pkey PRIMARY KEY (org_id, delivery_id, fence);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_org_id_notification_id_channel_id_key UNIQUE (org_id, notification_id, channel_id);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_pkey PRIMARY KEY (org_id, delivery_id, notification_id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_pkey PRIMARY KEY (org_id, message_id);

ALTER TABLE ONLY public.event_counters
    ADD CONSTRAINT event_counters_pkey PRIMARY KEY (org_id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (org_id, no);

ALTER TABLE ONLY public.leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.notification_channels
    ADD CONSTRAINT notification_channels_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_user_id_key_key UNIQUE (org_id, user_id, key);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT organizations_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT organizations_slug_key UNIQUE (slug);

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (org_id, token_hash);

ALTER TABLE ONLY public.role_settings
    ADD CONSTRAINT role_settings_pkey PRIMARY KEY (org_id, role_code);

ALTER TABLE ONLY public.role_versions
    ADD CONSTRAINT role_versions_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.run_events
    ADD CONSTRAINT run_events_pkey PRIMARY KEY (org_id, run_id, first_id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_org_id_message_id_role_code_key UNIQUE (org_id, message_id, role_code);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.telegram_questions
    ADD CONSTRAINT telegram_questions_pkey PRIMARY KEY (org_id, channel_id, message_no);

ALTER TABLE ONLY public.telegram_updates
    ADD CONSTRAINT telegram_updates_pkey PRIMARY KEY (bot_id, update_id);

ALTER TABLE ONLY public.tool_calls
    ADD CONSTRAINT tool_calls_pkey PRIMARY KEY (org_id, run_id, fence, place);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (org_id, id);

ALTER TABLE ONLY public.working_days
    ADD CONSTRAINT working_days_pkey PRIMARY KEY (org_id, country, day);

CREATE INDEX calendar_events_due ON public.calendar_events USING btree (next_at) WHERE (status = 'active'::text);

CREATE INDEX calendar_events_of_chat ON public.calendar_events USING btree (org_id, chat_id);

CREATE INDEX calendar_events_of_owner ON public.calendar_events USING btree (org_id, owner_id);

CREATE UNIQUE INDEX calendar_events_uid ON public.calendar_events USING btree (org_id, owner_id, uid) WHERE (status <> 'deleted'::text);

CREATE UNIQUE INDEX calendar_feeds_token ON public.calendar_feeds USING btree (token_hash);

CREATE INDEX calendar_firings_of_event ON public.calendar_firings USING btree (org_id, event_id, fired_at DESC);

CREATE INDEX calendar_firings_of_run ON public.calendar_firings USING btree (org_id, run_id) WHERE (run_id IS NOT NULL);

CREATE INDEX calendar_firings_retried ON public.calendar_firings USING btree (retry_at) WHERE (retry_at IS NOT NULL);

CREATE INDEX calendar_guests_of_user ON public.calendar_guests USING btree (org_id, user_id);

CREATE INDEX chat_members_of_user ON public.chat_members USING btree (org_id, user_id);

CREATE INDEX deliveries_dead ON public.deliveries USING btree (org_id, finished_at DESC) WHERE (status = 'dead'::text);

CREATE INDEX deliveries_due ON public.deliveries USING btree (kind, due_at) WHERE (status = 'queued'::text);

CREATE UNIQUE INDEX deliveries_gathering ON public.deliveries USING btree (org_id, channel_id) WHERE ((status = 'queued'::text) AND (purpose = 'digest'::text) AND (fence = 0));

CREATE INDEX deliveries_leased ON public.deliveries USING btree (lease_until) WHERE (status = 'sending'::text);

CREATE INDEX deliveries_of_channel ON public.deliveries USING btree (org_id, channel_id, created_at DESC);

CREATE INDEX delivery_attempts_at ON public.delivery_attempts USING btree (org_id, ended_at DESC, delivery_id DESC, fence DESC);

CREATE INDEX drafts_expiring ON public.drafts USING btree (expires_at) WHERE ((status = 'draft'::text) AND (expires_at IS NOT NULL));

CREATE INDEX drafts_pending ON public.drafts USING btree (org_id, opened_at DESC) WHERE (status = 'draft'::text);

CREATE INDEX events_at ON public.events USING brin (at);

CREATE INDEX messages_by_time ON public.messages USING btree (org_id, created_at, id);

CREATE UNIQUE INDEX messages_client_id ON public.messages USING btree (org_id, chat_id, author_id, client_message_id) WHERE (client_message_id IS NOT NULL);

CREATE UNIQUE INDEX messages_no ON public.messages USING btree (org_id, chat_id, no);

CREATE INDEX model_calls_of_run ON public.model_calls USING btree (org_id, run_id);

CREATE UNIQUE INDEX notification_channels_address ON public.notification_channels USING btree (org_id, user_id, kind, lower(address)) WHERE (address IS NOT NULL);

CREATE UNIQUE INDEX notification_channels_code ON public.notification_channels USING btree (code_hash) WHERE (code_hash IS NOT NULL);

CREATE UNIQUE INDEX notification_channels_in_app ON public.notification_channels USING btree (org_id, user_id) WHERE (kind = 'in_app'::text);

CREATE UNIQUE INDEX notification_channels_own ON public.notification_channels USING btree (org_id, user_id) WHERE is_own;

CREATE INDEX notification_channels_session ON public.notification_channels USING btree (org_id, session_id) WHERE (session_id IS NOT NULL);

CREATE UNIQUE INDEX notification_channels_telegram ON public.notification_channels USING btree (address) WHERE (kind = 'telegram'::text);

CREATE INDEX notifications_due ON public.notifications USING btree (next_at) WHERE (next_at IS NOT NULL);

CREATE INDEX notifications_of_message ON public.notifications USING btree (org_id, message_id) WHERE (read_at IS NULL);

CREATE INDEX notifications_of_user ON public.notifications USING btree (org_id, user_id, created_at DESC, id DESC);

CREATE INDEX notifications_unread ON public.notifications USING btree (org_id, user_id, created_at DESC, id DESC) WHERE (read_at IS NULL);

CREATE UNIQUE INDEX refresh_tokens_hash ON public.refresh_tokens USING btree (token_hash);

CREATE INDEX refresh_tokens_of_session ON public.refresh_tokens USING btree (org_id, session_id);

CREATE INDEX run_events_at ON public.run_events USING brin (at);

CREATE INDEX runs_leased ON public.runs USING btree (lease_until) WHERE (status = 'running'::text);

CREATE INDEX runs_turns ON public.runs USING btree (org_id, chat_id, role_code, "position", queued_at, id) WHERE (status = ANY (ARRAY['queued'::text, 'running'::text]));

CREATE INDEX runs_unanswered ON public.runs USING btree (org_id, chat_id, finished_at DESC) WHERE (status = ANY (ARRAY['failed'::text, 'cancelled'::text]));

CREATE INDEX runs_waiting ON public.runs USING btree (org_id, asker_id, chat_id, role_code) WHERE (status = 'queued'::text);

CREATE INDEX sessions_ended ON public.sessions USING btree (ended_at) WHERE (ended_at IS NOT NULL);

CREATE INDEX sessions_of_user ON public.sessions USING btree (org_id, user_id) WHERE (ended_at IS NULL);

CREATE INDEX telegram_updates_done ON public.telegram_updates USING btree (done_at) WHERE (done_at IS NOT NULL);

CREATE INDEX telegram_updates_waiting ON public.telegram_updates USING btree (bot_id, update_id) WHERE (done_at IS NULL);

CREATE UNIQUE INDEX users_email ON public.users USING btree (org_id, lower(email));

CREATE INDEX users_sign_in_email ON public.users USING btree (lower(email));

CREATE INDEX users_sign_in_username ON public.users USING btree (lower(username));

CREATE UNIQUE INDEX users_username ON public.users USING btree (org_id, lower(username));

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.calendar_events
    ADD CONSTRAINT calendar_events_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.calendar_events
    ADD CONSTRAINT calendar_events_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.calendar_events
    ADD CONSTRAINT calendar_events_org_id_owner_id_fkey FOREIGN KEY (org_id, owner_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.calendar_feeds
    ADD CONSTRAINT calendar_feeds_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_org_id_event_id_fkey FOREIGN KEY (org_id, event_id) REFERENCES public.calendar_events(org_id, id);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_org_id_message_id_fkey FOREIGN KEY (org_id, message_id) REFERENCES public.messages(org_id, id);

ALTER TABLE ONLY public.calendar_firings
    ADD CONSTRAINT calendar_firings_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.calendar_guests
    ADD CONSTRAINT calendar_guests_org_id_event_id_fkey FOREIGN KEY (org_id, event_id) REFERENCES public.calendar_events(org_id, id);

ALTER TABLE ONLY public.calendar_guests
    ADD CONSTRAINT calendar_guests_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.calendar_guests
    ADD CONSTRAINT calendar_guests_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.chat_members
    ADD CONSTRAINT chat_members_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.chat_members
    ADD CONSTRAINT chat_members_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.chat_members
    ADD CONSTRAINT chat_members_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.chats
    ADD CONSTRAINT chats_org_id_created_by_fkey FOREIGN KEY (org_id, created_by) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.chats
    ADD CONSTRAINT chats_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.checkpoint_blobs
    ADD CONSTRAINT checkpoint_blobs_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.checkpoint_blobs
    ADD CONSTRAINT checkpoint_blobs_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.checkpoint_writes
    ADD CONSTRAINT checkpoint_writes_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.checkpoint_writes
    ADD CONSTRAINT checkpoint_writes_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT checkpoints_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_org_id_channel_id_fkey FOREIGN KEY (org_id, channel_id) REFERENCES public.notification_channels(org_id, id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.delivery_attempts
    ADD CONSTRAINT delivery_attempts_org_id_delivery_id_fkey FOREIGN KEY (org_id, delivery_id) REFERENCES public.deliveries(org_id, id);

ALTER TABLE ONLY public.delivery_attempts
    ADD CONSTRAINT delivery_attempts_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_org_id_channel_id_fkey FOREIGN KEY (org_id, channel_id) REFERENCES public.notification_channels(org_id, id);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_org_id_delivery_id_fkey FOREIGN KEY (org_id, delivery_id) REFERENCES public.deliveries(org_id, id);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.delivery_items
    ADD CONSTRAINT delivery_items_org_id_notification_id_fkey FOREIGN KEY (org_id, notification_id) REFERENCES public.notifications(org_id, id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_asker_id_fkey FOREIGN KEY (org_id, asker_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_decided_by_fkey FOREIGN KEY (org_id, decided_by) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_message_id_fkey FOREIGN KEY (org_id, message_id) REFERENCES public.messages(org_id, id);

ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT drafts_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.event_counters
    ADD CONSTRAINT event_counters_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_org_id_author_id_fkey FOREIGN KEY (org_id, author_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.messages
    ADD CONSTRAINT messages_org_id_reply_to_fkey FOREIGN KEY (org_id, reply_to) REFERENCES public.messages(org_id, id);

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT model_calls_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.notification_channels
    ADD CONSTRAINT notification_channels_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.notification_channels
    ADD CONSTRAINT notification_channels_org_id_session_id_fkey FOREIGN KEY (org_id, session_id) REFERENCES public.sessions(org_id, id) ON DELETE SET NULL (session_id) NOT VALID;

ALTER TABLE ONLY public.notification_channels
    ADD CONSTRAINT notification_channels_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_message_id_fkey FOREIGN KEY (org_id, message_id) REFERENCES public.messages(org_id, id);

ALTER TABLE ONLY public.notifications
    ADD CONSTRAINT notifications_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_org_id_session_id_fkey FOREIGN KEY (org_id, session_id) REFERENCES public.sessions(org_id, id) ON DELETE CASCADE;

ALTER TABLE ONLY public.role_settings
    ADD CONSTRAINT role_settings_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.run_events
    ADD CONSTRAINT run_events_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.run_events
    ADD CONSTRAINT run_events_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_org_id_asker_id_fkey FOREIGN KEY (org_id, asker_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_org_id_chat_id_fkey FOREIGN KEY (org_id, chat_id) REFERENCES public.chats(org_id, id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_org_id_message_id_fkey FOREIGN KEY (org_id, message_id) REFERENCES public.messages(org_id, id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_role_version_fkey FOREIGN KEY (role_version) REFERENCES public.role_versions(version);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_org_id_user_id_fkey FOREIGN KEY (org_id, user_id) REFERENCES public.users(org_id, id);

ALTER TABLE ONLY public.telegram_questions
    ADD CONSTRAINT telegram_questions_org_id_channel_id_fkey FOREIGN KEY (org_id, channel_id) REFERENCES public.notification_channels(org_id, id);

ALTER TABLE ONLY public.telegram_questions
    ADD CONSTRAINT telegram_questions_org_id_draft_id_fkey FOREIGN KEY (org_id, draft_id) REFERENCES public.drafts(org_id, message_id);

ALTER TABLE ONLY public.telegram_questions
    ADD CONSTRAINT telegram_questions_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.tool_calls
    ADD CONSTRAINT tool_calls_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.tool_calls
    ADD CONSTRAINT tool_calls_org_id_run_id_fkey FOREIGN KEY (org_id, run_id) REFERENCES public.runs(org_id, id);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE ONLY public.working_days
    ADD CONSTRAINT working_days_org_id_fkey FOREIGN KEY (org_id) REFERENCES public.organizations(id);

ALTER TABLE public.audit_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calendar_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calendar_feeds ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calendar_firings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.calendar_guests ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.chat_members ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.chats ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.checkpoint_blobs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.checkpoint_writes ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.checkpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.deliveries ENABLE ROW LEVEL SECURITY;

CREATE POLICY delivery ON public.notification_channels FOR SELECT TO rugpt_across USING (true);

CREATE POLICY delivery ON public.notifications FOR SELECT TO rugpt_across USING (true);

ALTER TABLE public.delivery_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.delivery_items ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.drafts ENABLE ROW LEVEL SECURITY;

CREATE POLICY due ON public.calendar_events FOR SELECT TO rugpt_across USING (true);

CREATE POLICY due ON public.calendar_firings FOR SELECT TO rugpt_across USING (true);

ALTER TABLE public.event_counters ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.events ENABLE ROW LEVEL SECURITY;

CREATE POLICY expiry ON public.drafts FOR SELECT TO rugpt_across USING (true);

CREATE POLICY housekeeping ON public.checkpoint_blobs TO rugpt_across USING (true);

CREATE POLICY housekeeping ON public.checkpoint_writes TO rugpt_across USING (true);

CREATE POLICY housekeeping ON public.checkpoints TO rugpt_across USING (true);

CREATE POLICY housekeeping ON public.events TO rugpt_across USING (true);

CREATE POLICY housekeeping ON public.run_events TO rugpt_across USING (true);

ALTER TABLE public.messages ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.model_calls ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.notification_channels ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.notifications ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_organization ON public.audit_log USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.calendar_events USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.calendar_feeds USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.calendar_firings USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.calendar_guests USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.chat_members USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.chats USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.checkpoint_blobs USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.checkpoint_writes USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.checkpoints USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.deliveries USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.delivery_attempts USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.delivery_items USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.drafts USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.event_counters USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.events USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.messages USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.model_calls USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.notification_channels USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.notifications USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.organizations USING ((id = public.current_org()));

CREATE POLICY own_organization ON public.refresh_tokens USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.role_settings USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.run_events USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.runs USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.sessions USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.telegram_questions USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.tool_calls USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.users USING ((org_id = public.current_org()));

CREATE POLICY own_organization ON public.working_days USING ((org_id = public.current_org()));

CREATE POLICY queue ON public.deliveries TO rugpt_across USING (true);

CREATE POLICY queue ON public.runs TO rugpt_across USING (true);

CREATE POLICY refresh ON public.refresh_tokens FOR SELECT TO rugpt_across USING (true);

ALTER TABLE public.refresh_tokens ENABLE ROW LEVEL SECURITY;

CREATE POLICY revocations ON public.sessions TO rugpt_across USING (true);

ALTER TABLE public.role_settings ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.run_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.sessions ENABLE ROW LEVEL SECURITY;

CREATE POLICY sign_in ON public.organizations FOR SELECT TO rugpt_across USING (true);

CREATE POLICY sign_in ON public.users FOR SELECT TO rugpt_across USING (true);

CREATE POLICY subscription ON public.calendar_feeds FOR SELECT TO rugpt_across USING (true);

ALTER TABLE public.telegram_questions ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tool_calls ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.working_days ENABLE ROW LEVEL SECURITY;
GRANT USAGE ON SCHEMA public TO rugpt_app;
GRANT USAGE ON SCHEMA public TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.chats TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.role_settings TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.sessions TO rugpt_app;
GRANT DELETE ON TABLE public.sessions TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.sessions TO rugpt_across;
GRANT SELECT(id) ON TABLE public.sessions TO rugpt_across;
GRANT SELECT(expires_at) ON TABLE public.sessions TO rugpt_across;
GRANT SELECT(ended_at) ON TABLE public.sessions TO rugpt_across;
GRANT SELECT,INSERT ON TABLE public.audit_log TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.calendar_events TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.calendar_events TO rugpt_across;
GRANT SELECT(id) ON TABLE public.calendar_events TO rugpt_across;
GRANT SELECT(status) ON TABLE public.calendar_events TO rugpt_across;
GRANT SELECT(next_at) ON TABLE public.calendar_events TO rugpt_across;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.calendar_feeds TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.calendar_feeds TO rugpt_across;
GRANT SELECT(user_id) ON TABLE public.calendar_feeds TO rugpt_across;
GRANT SELECT(token_hash) ON TABLE public.calendar_feeds TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.calendar_firings TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.calendar_firings TO rugpt_across;
GRANT SELECT(id) ON TABLE public.calendar_firings TO rugpt_across;
GRANT SELECT(retry_at) ON TABLE public.calendar_firings TO rugpt_across;
GRANT SELECT,INSERT,DELETE ON TABLE public.calendar_guests TO rugpt_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.chat_members TO rugpt_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.checkpoint_blobs TO rugpt_app;
GRANT DELETE ON TABLE public.checkpoint_blobs TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.checkpoint_blobs TO rugpt_across;
GRANT SELECT(run_id) ON TABLE public.checkpoint_blobs TO rugpt_across;
GRANT SELECT(at) ON TABLE public.checkpoint_blobs TO rugpt_across;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.checkpoint_writes TO rugpt_app;
GRANT DELETE ON TABLE public.checkpoint_writes TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.checkpoint_writes TO rugpt_across;
GRANT SELECT(run_id) ON TABLE public.checkpoint_writes TO rugpt_across;
GRANT SELECT(at) ON TABLE public.checkpoint_writes TO rugpt_across;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.checkpoints TO rugpt_app;
GRANT DELETE ON TABLE public.checkpoints TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.checkpoints TO rugpt_across;
GRANT SELECT(run_id) ON TABLE public.checkpoints TO rugpt_across;
GRANT SELECT(at) ON TABLE public.checkpoints TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.deliveries TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(id) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(channel_id) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(kind) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(purpose) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(status),UPDATE(status) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(fence),UPDATE(fence) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(attempts),UPDATE(attempts) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(unknowns) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(parts_sent) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(lease_until),UPDATE(lease_until) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(started_at),UPDATE(started_at) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(due_at) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT(created_at) ON TABLE public.deliveries TO rugpt_across;
GRANT SELECT,INSERT ON TABLE public.delivery_attempts TO rugpt_app;
GRANT SELECT,INSERT ON TABLE public.delivery_items TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.drafts TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.drafts TO rugpt_across;
GRANT SELECT(message_id) ON TABLE public.drafts TO rugpt_across;
GRANT SELECT(status) ON TABLE public.drafts TO rugpt_across;
GRANT SELECT(expires_at) ON TABLE public.drafts TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.event_counters TO rugpt_app;
GRANT SELECT,INSERT ON TABLE public.events TO rugpt_app;
GRANT DELETE ON TABLE public.events TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.events TO rugpt_across;
GRANT SELECT(no) ON TABLE public.events TO rugpt_across;
GRANT SELECT(at) ON TABLE public.events TO rugpt_across;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.leases TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.messages TO rugpt_app;
GRANT SELECT,INSERT ON TABLE public.model_calls TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.notification_channels TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(id) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(user_id) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(kind) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(address) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(code_hash) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT(free_at) ON TABLE public.notification_channels TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.notifications TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.notifications TO rugpt_across;
GRANT SELECT(id) ON TABLE public.notifications TO rugpt_across;
GRANT SELECT(next_at) ON TABLE public.notifications TO rugpt_across;
GRANT SELECT,INSERT ON TABLE public.organizations TO rugpt_app;
GRANT SELECT(id) ON TABLE public.organizations TO rugpt_across;
GRANT UPDATE(name) ON TABLE public.organizations TO rugpt_app;
GRANT SELECT(slug) ON TABLE public.organizations TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.refresh_tokens TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.refresh_tokens TO rugpt_across;
GRANT SELECT(token_hash) ON TABLE public.refresh_tokens TO rugpt_across;
GRANT SELECT(session_id) ON TABLE public.refresh_tokens TO rugpt_across;
GRANT SELECT,INSERT ON TABLE public.role_versions TO rugpt_app;
GRANT SELECT,INSERT ON TABLE public.run_events TO rugpt_app;
GRANT DELETE ON TABLE public.run_events TO rugpt_across;
GRANT SELECT(org_id) ON TABLE public.run_events TO rugpt_across;
GRANT SELECT(run_id) ON TABLE public.run_events TO rugpt_across;
GRANT SELECT(first_id) ON TABLE public.run_events TO rugpt_across;
GRANT SELECT(at) ON TABLE public.run_events TO rugpt_across;
GRANT SELECT,INSERT,UPDATE ON TABLE public.runs TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(chat_id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(message_id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(answer_id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(role_code) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(asker_id) ON TABLE public.runs TO rugpt_across;
GRANT SELECT("position") ON TABLE public.runs TO rugpt_across;
GRANT SELECT(status),UPDATE(status) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(fence),UPDATE(fence) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(attempts),UPDATE(attempts) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(worker),UPDATE(worker) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(lease_until),UPDATE(lease_until) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(cancel_requested_at) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(queued_at) ON TABLE public.runs TO rugpt_across;
GRANT SELECT(started_at),UPDATE(started_at) ON TABLE public.runs TO rugpt_across;
GRANT SELECT ON TABLE public.schema_migrations TO rugpt_app;
GRANT SELECT,INSERT ON TABLE public.telegram_questions TO rugpt_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.telegram_updates TO rugpt_across;
GRANT SELECT,INSERT ON TABLE public.tool_calls TO rugpt_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.users TO rugpt_app;
GRANT SELECT(org_id) ON TABLE public.users TO rugpt_across;
GRANT SELECT(id) ON TABLE public.users TO rugpt_across;
GRANT SELECT(username) ON TABLE public.users TO rugpt_across;
GRANT SELECT(email) ON TABLE public.users TO rugpt_across;
GRANT SELECT(is_active) ON TABLE public.users TO rugpt_across;
GRANT SELECT(password_hash) ON TABLE public.users TO rugpt_across;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.working_days TO rugpt_app;

-- Browsers that push notifications: one more kind of channel, which lives as long as its session. The two checks
-- are made anew without looking at the rows, which all fit: their tables are locked for a moment.
ALTER TABLE notification_channels DROP CONSTRAINT notification_channels_kind_check;
ALTER TABLE notification_channels ADD CONSTRAINT notification_channels_kind_check
    CHECK (kind IN ('in_app', 'email', 'telegram', 'webhook', 'web_push')) NOT VALID;
ALTER TABLE deliveries DROP CONSTRAINT deliveries_kind_check;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_kind_check
    CHECK (kind IN ('email', 'telegram', 'webhook', 'web_push')) NOT VALID;
ALTER TABLE notification_channels VALIDATE CONSTRAINT notification_channels_kind_check;
ALTER TABLE deliveries VALIDATE CONSTRAINT deliveries_kind_check;

ALTER TABLE notification_channels ADD COLUMN session_id uuid; -- of the browser that is pushed to
ALTER TABLE notification_channels ADD FOREIGN KEY (org_id, session_id) REFERENCES sessions (org_id, id)
    ON DELETE SET NULL (session_id) NOT VALID;
CREATE INDEX notification_channels_session ON notification_channels (org_id, session_id) WHERE session_id IS NOT NULL;

-- The door to sessions for statements of other rooms: whether somebody is still signed in there.
CREATE FUNCTION session_is_live(session uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE COST 1000
    RETURN EXISTS (SELECT FROM sessions WHERE id = session AND ended_at IS NULL AND expires_at > now());

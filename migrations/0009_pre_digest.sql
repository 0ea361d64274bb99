-- A digest gathers for its channel until it is first taken to be sent. One that comes back, because sending failed or
-- the channel is quiet, only waits: the next one may gather already, and must not keep it from coming back.
CREATE UNIQUE INDEX deliveries_gathering ON deliveries (org_id, channel_id)
    WHERE status = 'queued' AND purpose = 'digest' AND fence = 0;
DROP INDEX deliveries_digest;

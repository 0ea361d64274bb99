-- Numbers an organization's announcements, given as [[channel, kind, data], …], without gaps and in the order in
-- which they become visible: the counter's row stays locked until the commit, which is sent together with the call,
-- so nobody waits for the caller. The first number is left in the session, to be asked for after the commit.
CREATE FUNCTION announce(lines jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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

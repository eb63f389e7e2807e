-- What a writer by hand fills in stands first, so that `INSERT INTO revocations VALUES ('revoxy:jti:shop:abc')` will do.
CREATE TABLE revocations (
    key        bytea       NOT NULL,                    -- revoxy:<kind>:<issuer name>:<value>
    not_before timestamptz,                             -- tokens issued up to here; NULL: every token
    expires_at timestamptz NOT NULL DEFAULT 'infinity',
    reason     text,
    actor      text,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    -- A key may be longer than an index can hold.
    id         bytea       GENERATED ALWAYS AS (sha256(key)) STORED PRIMARY KEY,
    -- NULL where the key is none of ours.
    kind       text        GENERATED ALWAYS AS
        (substring(encode(key, 'escape') FROM '^revoxy:([a-z0-9_]{1,32}):[^:]*:')) STORED
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

COMMENT ON TABLE revocations IS 'Tokens matching the key are refused until expires_at. Revoxy keeps a copy of it.';

-- Milliseconds since the epoch, rounded up.
CREATE FUNCTION revocation_millis(t timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE t
        WHEN 'infinity' THEN 9223372036854775807
        WHEN '-infinity' THEN -9223372036854775808
        ELSE ceil(extract(epoch FROM t)::numeric * 1000)::bigint
    END
$$;

-- And back. What no timestamp can say is as good as infinite.
CREATE FUNCTION revocation_time(millis bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN millis >= 9000000000000000 THEN 'infinity'::timestamptz
        WHEN millis <= -200000000000000 THEN '-infinity'::timestamptz
        ELSE to_timestamp(0) + millis * interval '1 millisecond'
    END
$$;

-- Tells all replicas what has changed, with everything that they need to know. The row's place (ctid) makes every
-- message of a transaction another: of equal ones PostgreSQL sends only the first.
CREATE FUNCTION revocation_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    channel text := 'revoxy_' || md5(TG_TABLE_SCHEMA);
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM pg_notify(channel, 'all');
        RETURN NULL;
    END IF;
    -- What goes after its time is over is swept, and nobody's business.
    IF TG_OP = 'DELETE' AND OLD.kind IS NOT NULL AND OLD.expires_at > now()
        OR TG_OP = 'UPDATE' AND OLD.kind IS NOT NULL AND OLD.id <> NEW.id
    THEN
        PERFORM pg_notify(channel, concat_ws(' ', 'gone', OLD.ctid, OLD.kind, encode(OLD.id, 'hex')));
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.kind IS NOT NULL THEN
        PERFORM pg_notify(channel, concat_ws(' ', 'put', NEW.ctid, NEW.kind, encode(NEW.id, 'hex'),
            coalesce(revocation_millis(NEW.not_before)::text, 'all'),
            revocation_millis(NEW.expires_at), revocation_millis(NEW.revoked_at)));
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER revocation_changed AFTER INSERT OR UPDATE OR DELETE ON revocations
    FOR EACH ROW EXECUTE FUNCTION revocation_changed();
CREATE TRIGGER revocations_emptied AFTER TRUNCATE ON revocations
    FOR EACH STATEMENT EXECUTE FUNCTION revocation_changed();
-- For changes that replication applies as well.
ALTER TABLE revocations ENABLE ALWAYS TRIGGER revocation_changed;
ALTER TABLE revocations ENABLE ALWAYS TRIGGER revocations_emptied;

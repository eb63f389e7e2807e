-- Tokens that were registered at issue, or seen in a check.
CREATE TABLE tokens (
    id         BLOB PRIMARY KEY NOT NULL, -- of the SHA-256 of the token's key
    token      TEXT NOT NULL,             -- the key: revoxy:<jti or digest>:<issuer>:<value>
    issuer     TEXT NOT NULL,
    subject    TEXT,
    session    TEXT,
    client     TEXT,
    kid        TEXT,
    type       TEXT NOT NULL,             -- access, refresh, other
    issued_at  INTEGER,                   -- ms since the epoch
    expires_at INTEGER NOT NULL,          -- ms since the epoch
    registered_until INTEGER NOT NULL,    -- ms since the epoch; 0: only seen
    noted_at   INTEGER NOT NULL           -- ms since the epoch
) WITHOUT ROWID;
CREATE INDEX tokens_by_subject ON tokens (issuer, subject, expires_at, id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- The first version made its table without migrations: a file of that time has it already, and is taken over as it is.
CREATE TABLE IF NOT EXISTS revocations (
    key        TEXT PRIMARY KEY NOT NULL,
    not_before INTEGER,          -- ms since the epoch; NULL: every token
    expires_at INTEGER NOT NULL, -- ms since the epoch
    reason     TEXT,
    actor      TEXT,
    revoked_at INTEGER NOT NULL  -- ms since the epoch
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS revocations_by_expiry ON revocations (expires_at);

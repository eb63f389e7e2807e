-- Tokens that were registered at issue, or seen in a check. Texts of tokens may hold what PostgreSQL's text does not.
CREATE TABLE tokens (
    id           bytea       PRIMARY KEY, -- of the SHA-256 of the token's key
    token        bytea       NOT NULL,    -- the key: revoxy:<jti or digest>:<issuer name>:<value>
    registration bytea       NOT NULL,    -- the id in revocations under which the token is registered, if it is
    list         bytea,                   -- SHA-256 of <issuer name>:<subject>: a subject may be longer than an index can hold
    subject      bytea,
    session      bytea,
    client       bytea,
    kid          bytea,
    type         text        NOT NULL,    -- access, refresh, other
    issued_at    timestamptz,
    expires_at   timestamptz NOT NULL,
    noted_at     timestamptz NOT NULL
);
CREATE INDEX tokens_by_list ON tokens (list, expires_at, id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

COMMENT ON TABLE tokens IS 'Tokens that are known by themselves, to be listed by subject. No check reads it.';
COMMENT ON TABLE revocations IS 'Tokens matching the key are refused until expires_at; those of a key revoxy:registered:... '
    'are on the allow-list until then. Revoxy keeps a copy of it.';

-- One text for SQLite and PostgreSQL. On PostgreSQL every TEXT column compares by bytes, as SQLite's do (db.rs).
-- Whole numbers are 64 bits, moments are milliseconds since 1970, digests are 32 bytes.

-- The number of the latest change. On PostgreSQL it is also the lock that makes writers go one after the other.
CREATE TABLE IF NOT EXISTS feed (
    id BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);
INSERT INTO feed (id, position) VALUES (1, 0) ON CONFLICT (id) DO NOTHING;

-- The latest version of every governed object: what is true now. What happened is in the ledger.
CREATE TABLE IF NOT EXISTS object (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version BIGINT NOT NULL,
    body TEXT NOT NULL,
    digest BYTEA NOT NULL,
    widens BOOLEAN NOT NULL,
    entry TEXT NOT NULL,
    ledger_index BIGINT,
    leaf BYTEA,
    changed BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE UNIQUE INDEX IF NOT EXISTS object_changed ON object (changed);
CREATE INDEX IF NOT EXISTS object_entry ON object (entry);

-- What no two owners may share.
CREATE TABLE IF NOT EXISTS claim (
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (kind, value)
);

-- Drafts of ledger entries, in the order in which they became true.
CREATE TABLE IF NOT EXISTS outbox (
    position BIGINT PRIMARY KEY,
    entry TEXT NOT NULL UNIQUE,
    kind TEXT,
    key TEXT,
    version BIGINT,
    draft BYTEA NOT NULL,
    takes_away BOOLEAN NOT NULL
);

-- Answers already given, by idempotency key.
CREATE TABLE IF NOT EXISTS once (
    key TEXT PRIMARY KEY,
    request BYTEA NOT NULL,
    result BYTEA NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS once_expires ON once (expires);

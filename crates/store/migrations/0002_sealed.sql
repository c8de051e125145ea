-- Secrets of others that are kept for somebody, sealed under a key that is not in this database.
CREATE TABLE IF NOT EXISTS sealed (
    key TEXT PRIMARY KEY,
    bytes BYTEA NOT NULL
);

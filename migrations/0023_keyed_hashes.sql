-- Hashes of requests under an idempotency key are keyed (decision 0042): a plain hash of a body with a secret confirms a guess of that secret.
ALTER TABLE installation
    ADD COLUMN key_id text,
    ADD COLUMN wrapped_key bytea,
    ADD COLUMN request_secret_sealed bytea,
    ADD CONSTRAINT installation_sealed CHECK (num_nulls(key_id, wrapped_key, request_secret_sealed) IN (0, 3));
COMMENT ON COLUMN installation.key_id IS 'Id of the key that wraps wrapped_key.';
COMMENT ON COLUMN installation.wrapped_key IS 'Data key of request_secret_sealed, wrapped.';
COMMENT ON COLUMN installation.request_secret_sealed IS 'Secret, encrypted: keys the hashes in idempotency_keys. Made by the first program that needs it.';
COMMENT ON COLUMN idempotency_keys.request_hash IS 'HMAC-SHA-256 of scope, key and SHA-256 of the request''s meaning; that SHA-256 alone where a program from before migration 23 wrote the row, or was alive then. Another request with the same key is refused.';

SELECT schema_version(23, works_with => 14);
